"use strict";
// Packed data, and the details of a case as elements. Texts become text nodes: nothing in them is ever markup.

// An element with its attributes and children; what is empty is left out.
function h(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) if (value || value === 0) element.setAttribute(name, value);
  element.append(...children.flat(3).filter(child => child || child === 0));
  return element;
}

// What a pack holds. Rejects where the browser cannot inflate.
async function unpack(pack) {
  const bytes = Uint8Array.from(atob(pack.textContent), c => c.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"))).json();
}

// Every text in a value, for searching.
function texts(value) {
  if (value === null || value === undefined) return "";
  return typeof value === "object" ? Object.values(value).map(texts).join("\n") : String(value);
}

// A shell's word, as Python's shlex.quote writes it.
const quoted = word => /^[\w@%+=:,.\/-]+$/.test(word) ? word : "'" + word.replaceAll("'", "'\"'\"'") + "'";

const scrolled = (label, ...content) => h("div", {class: "scroll", tabindex: "0", role: "region", "aria-label": label}, content);
const heads = (...titles) => h("thead", {}, h("tr", {}, titles.map(title => h("th", {scope: "col"}, title))));
const more = (count, noun) => count ? h("p", {class: "note"}, `… and ${count.toLocaleString("en")} more ${noun}${count > 1 ? "s" : ""} in the result file.`) : "";

// --- the program, coloured by one pattern: comments, texts, numbers, keywords, the kit's words ---

const KEYWORDS = "False None True and as assert async await break class continue def del elif else except finally for from global if import in is lambda nonlocal not or pass raise return try while with yield";
const WORDS = "collect deep_copy defaults direction identical inner_product lock numerical_jvp numerical_vjp raises recorded_warnings rounded run_threads same same_storage thread_id warns weak";
const TOKEN = new RegExp([
  /(?<c>#.*)/, /(?<s>\b[rbfu]{0,2}(?:'''[^]*?'''|"""[^]*?"""|'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*")|'''[^]*?'''|"""[^]*?"""|'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*")/,
  /(?<m>(?<![\w.])(?:0[xob]\w+|(?:\d[\d_]*\.?\d*|\.\d+)(?:e[+-]?\d+)?j?))/,
].map(part => part.source).join("|") + `|\\b(?<k>${KEYWORDS.replaceAll(" ", "|")})\\b|(?<!\\.)\\b(?<w>${WORDS.replaceAll(" ", "|")})\\b`, "g");

// The program's lines, each a list of texts and coloured elements.
function coloured(text) {
  const lines = [[]];
  const put = (piece, kind) => piece.split("\n").forEach((part, n) => {
    if (n) lines.push([]);
    if (part) lines.at(-1).push(kind ? h("i", {class: kind}, part) : part);
  });
  let end = 0;
  for (const found of text.matchAll(TOKEN)) {
    put(text.slice(end, found.index));
    put(found[0], Object.keys(found.groups).find(kind => found.groups[kind] !== undefined));
    end = found.index + found[0].length;
  }
  put(text.slice(end));
  return lines;
}

function program(details) {
  const failing = details.failing || {};
  const lines = coloured(details.program || "").map((line, n) =>
    h("span", {class: failing[n + 1] ? "l bad" : "l", title: failing[n + 1]}, line, "\n"));
  return h("pre", {class: "prog", tabindex: "0", "aria-label": "Program"}, lines,
    details.lines ? h("em", {}, `… ${details.lines.toLocaleString("en")} more lines`) : "");
}

// --- observations, differences, errors ---

function observations(details, engines) {
  if (!details.seen) return "";
  const expected = details.seen.some(row => row[3]);
  const rows = details.seen.map(([line, what, cells, wanted, kind, iteration]) => h("tr", {},
    h("td", {class: "num"}, line || "", iteration ? h("small", {}, `#${iteration + 1}`) : ""),
    h("td", {}, h("code", {}, what), kind ? h("small", {}, " " + kind) : ""),
    expected ? h("td", {}, h("code", {}, wanted || "")) : "",
    Array.isArray(cells) ? cells.map(cell) : engines.map(() => cell(cells || ""))));
  const columns = ["Line", "Observation", ...(expected ? ["Expected"] : []), ...engines];
  return [scrolled("Observations", h("table", {class: "obs"}, heads(...columns), h("tbody", {}, rows))), more(details.unseen, "observation")];
}

function cell(shown) {
  if (shown === null) return h("td", {class: "never"}, "not reached");
  const [text, agrees, expected] = Array.isArray(shown) ? shown : [shown, true, ""];
  return h("td", {class: agrees ? "" : "bad"}, h("code", {}, agrees ? text : "✗ " + text), expected ? h("small", {}, " expected " + expected) : "");
}

function differences(part) {
  if (!part.differences) return "";
  const rows = part.differences.map(([where, line, expected, against, observed, apart, finding]) => h("tr", {},
    h("th", {scope: "row"}, h("code", {}, where), line ? h("small", {}, ` line ${line}`) : ""),
    h("td", {}, h("code", {}, expected), against ? h("small", {}, " as " + against) : ""),
    h("td", {class: "bad"}, h("code", {}, observed)), h("td", {}, apart.map(size => h("div", {}, size))), h("td", {}, finding)));
  const columns = heads("Where", "Expected", "Observed", "Distance", "Finding");
  return [scrolled("Differences of " + part.engine, h("table", {class: "diff"}, columns, h("tbody", {}, rows))), more(part.more, "difference")];
}

// What one engine's result says besides its observations; its heading is of this level.
function engine(part, letters, level) {
  const [slug, symbol, verdict] = letters[part.letter];
  const missing = (part.missing || []).map((name, n) => [n ? ", " : "", h("code", {}, name)]);
  const [error, traceback] = part.error || [];
  return h("section", {class: "eng"},
    h("h" + level, {}, part.engine + " ", h("span", {class: "v " + slug}, `${symbol} ${verdict}`),
      part.finding ? h("small", {}, " " + part.finding) : "", part.waived ? h("small", {}, " waived: " + part.waived) : ""),
    (part.notes || []).map(note => h("p", {class: "note"}, note)),
    missing.length ? h("p", {}, "Not spelled by this engine: ", missing, part.unlisted ? ` and ${part.unlisted} more` : "") : "",
    differences(part),
    error ? h("p", {class: "err"}, h("code", {}, error)) : "",
    traceback ? h("details", {class: "tb"}, h("summary", {}, "Traceback"), h("pre", {tabindex: "0", "aria-label": "Traceback"}, traceback)) : "");
}

// Everything about a case; `level` is that of the headings in it.
function body(name, details, data, level) {
  const about = [details.source || "no source recorded", details.place, details.covers && "also covers " + details.covers.join(", ")];
  return h("div", {class: "b"},
    h("p", {class: "src"}, about.filter(Boolean).join(" · ") + " · ", h("a", {href: "#" + encodeURIComponent(name)}, "link to this case")),
    (details.notes || []).map(note => h("p", {class: "note"}, note)),
    program(details), observations(details, data.engines), (details.engines || []).map(part => engine(part, data.letters, level)),
    h("p", {class: "repro"}, h("span", {}, "Reproduce:"), " ",
      h("code", {}, ["autograd-conformance run", quoted(name), details.options].filter(Boolean).join(" ")), " ",
      h("button", {type: "button", class: "copy"}, "Copy")));
}
