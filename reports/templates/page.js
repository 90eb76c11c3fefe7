// The list of cases: chapters, in tables operators with their samples and checks; the filter; addresses of cases.
(async () => {
  const form = document.getElementById("filter"), shown = document.getElementById("shown"), none = document.getElementById("none");
  const list = document.getElementById("list");
  const AT_ONCE = 300;  // cases up to which every chapter stands open

  let data;
  try {
    data = await unpack(document.getElementById("index"));
  } catch (error) {
    list.append(h("p", {class: "state"}, `This browser cannot unpack the list of cases (${error}): that takes DecompressionStream, `
      + "which browsers have since 2023. The summary above is complete without it."));
    return;
  }
  const packs = new Map([...document.querySelectorAll(".pack")].map(pack => [pack.dataset.c, pack]));
  const total = data.engines.length;
  const chapters = data.chapters.map(chapter), cases = chapters.flatMap(c => c.cases), byName = new Map(cases.map(c => [c.name, c]));
  const ticks = [...form.querySelectorAll("[name=v]")];
  const number = count => count.toLocaleString("en"), plural = count => `${number(count)} case${count === 1 ? "" : "s"}`;

  // --- the model: chapters of cases, or of operators of cases ---

  function chapter(found, place) {
    const made = {...found, operators: new Map(), opened: false};
    made.cases = found.ids.map((id, n) => ({
      chapter: made, id, n, name: `${found.name}/${id}`, claim: found.claims[n], check: found.checks[n] || "",
      verdicts: found.verdicts.substr(n * total, total), findings: found.findings[n] || [], shown: true, text: "",
    }));
    for (const item of made.cases.filter(c => c.check)) {
      const [name, sample] = item.id.slice(0, -item.check.length - 2).split(/\[(.*)/s);
      if (!made.operators.has(name)) made.operators.set(name, {name, chapter: made, cases: [], rules: found.rules[name] || ["", []]});
      item.operator = made.operators.get(name);
      item.sample = sample || "";
      item.operator.cases.push(item);
    }
    return made;
  }
  const details = async item => {
    item.chapter.pack ||= unpack(packs.get(item.chapter.name));
    return (await item.chapter.pack)[item.n];
  };
  const pill = (letter, text) => h("b", {class: "v " + data.letters[letter][0]}, `${data.letters[letter][1]} ${text}`);
  const said = (item, engine) => {
    const verdict = data.letters[item.verdicts[engine]][2], finding = item.findings[engine];
    return verdict === "pass" ? "" : `: ${verdict}${finding ? ", " + finding : ""}`;
  };
  const pills = item => h("span", {class: "p"}, data.engines.map((name, n) => pill(item.verdicts[n], name + said(item, n))));
  // The verdicts of several cases: an engine that passes all has one mark, any other one for each verdict but pass.
  function summed(items) {
    return h("span", {class: "p"}, data.engines.map((name, n) => {
      const counts = new Map();
      for (const item of items) counts.set(item.verdicts[n], (counts.get(item.verdicts[n]) || 0) + 1);
      if (counts.size === 1 && counts.has("p")) return pill("p", name);
      counts.delete("p");
      return [...counts].map(([letter, count]) => pill(letter, `${name}: ${number(count)} ${data.letters[letter][2]}`));
    }));
  }

  // --- elements, made when they are first wanted ---

  function row(item) {
    if (item.element) return item.element;
    item.element = h("details", {class: "c", id: item.name},
      h("summary", {}, h("span", {class: "n"}, item.id), pills(item), h("span", {class: "q"}, item.claim)));
    item.element.addEventListener("toggle", () => item.element.open && fill(item, item.element));
    return item.element;
  }
  async function fill(item, element) {
    if (item.filled) return item.filled;
    return item.filled = details(item).then(found => { element.append(body(item.name, found, data, item.operator ? 6 : 4)); });
  }
  function operator(found) {
    if (found.element) return found.element;
    const value = found.cases.find(c => c.check === "value") || found.cases[0];
    found.element = h("details", {class: "c o"}, h("summary", {}, h("span", {class: "n"}, found.name, " ",
      h("small", {}, plural(found.cases.length))), summed(found.cases), h("span", {class: "q"}, value.claim)));
    found.element.addEventListener("toggle", () => found.element.open && table(found));
    return found.element;
  }
  // An operator's rules, and its checks: a row for each sample, below it the cases that were opened.
  function table(found) {
    if (found.table) return;
    const checks = [...new Set(found.cases.map(c => c.check))], samples = new Map();
    for (const item of found.cases) samples.set(item.sample, [...(samples.get(item.sample) || []), item]);
    const rows = [...samples].map(([sample, items]) => h("tr", {}, h("th", {scope: "row"}, sample),
      checks.map(check => h("td", {}, items.filter(c => c.check === check).map(mark)))));
    found.opened = h("div", {class: "opened"});
    const [engine, told] = found.rules;
    const rules = told.map(([node, lines]) => [h("dt", {}, node), h("dd", {}, lines.map(line => h("code", {}, line)))]);
    found.table = h("div", {class: "b"},
      rules.length ? [h("h4", {}, "Derivative rules ", h("small", {}, `as ${engine} states them`)), h("dl", {class: "rules"}, rules)] : "",
      h("h4", {}, "Checks"),
      scrolled("Checks of " + found.name, h("table", {class: "checks"}, heads("Sample", ...checks), h("tbody", {}, rows))),
      found.opened);
    found.element.append(found.table);
    dim(found);
  }
  function mark(item) {
    const letters = [...item.verdicts], plain = letters.every(letter => letter === letters[0]);
    const what = data.engines.map((name, n) => name + (said(item, n) || ": pass")).join("; ");
    item.mark = h("button", {type: "button", class: "mark", title: `${item.sample}, ${item.check}: ${what}`, "aria-label": `${item.id}, ${what}`, "aria-expanded": "false"},
      (plain ? letters.slice(0, 1) : letters).map(letter => h("b", {class: "v " + data.letters[letter][0]}, data.letters[letter][1])));
    item.mark.addEventListener("click", () => toggle(item));
    return item.mark;
  }
  async function toggle(item, open = item.mark.getAttribute("aria-expanded") === "false") {
    item.mark.setAttribute("aria-expanded", open);
    if (!item.element) item.element = h("article", {id: item.name, "aria-label": item.name},
      h("h5", {class: "h"}, h("span", {class: "n"}, item.id), " ", pills(item)), h("p", {class: "q"}, item.claim));
    if (open) item.operator.opened.append(item.element);
    else item.element.remove();
    if (open) await fill(item, item.element);
  }
  // Checks that the filter does not name are there, and pale.
  function dim(found) {
    for (const item of found.cases) if (item.mark) item.mark.classList.toggle("pale", !item.shown);
  }

  for (const found of chapters) {
    found.count = h("small", {});
    found.rows = h("div", {class: "rows"});
    found.details = h("details", {}, h("summary", {}, h("h3", {}, found.name), " ", found.count, " ", summed(found.cases)), found.rows);
    found.section = h("section", {class: "chapter", id: "chapter:" + found.name}, found.details);
    found.details.addEventListener("toggle", () => draw(found));
    list.append(found.section);
  }
  // The rows of an open chapter.
  function draw(found) {
    if (!found.details.open) return;
    const wanted = found.cases.filter(c => c.shown);
    const groups = new Set(wanted.map(c => c.operator || c));
    found.rows.replaceChildren(...[...groups].map(x => x.cases ? operator(x) : row(x)));
    for (const x of groups) if (x.cases) dim(x);
  }

  // --- the filter ---

  async function index() {
    for (const found of chapters) {
      const all = await (found.pack ||= unpack(packs.get(found.name)));
      for (const item of found.cases) item.text = `${item.name}\n${item.claim}\n${texts(all[item.n])}`.toLowerCase();
    }
  }
  let latest = 0, searched = false;
  async function apply() {
    const turn = ++latest, words = form.elements.q.value.toLowerCase().split(/\s+/).filter(Boolean);
    const name = form.elements.c.value, engine = form.elements.e.selectedIndex - 1;
    const letters = ticks.filter(t => t.checked).map(t => t.dataset.l);
    if (words.length && !searched) {
      shown.textContent = "reading all cases …";
      await index();
      searched = true;
    }
    if (turn !== latest) return;
    let visible = 0;
    for (const item of cases) {
      const verdicts = engine < 0 ? item.verdicts : item.verdicts[engine];
      item.shown = (!name || item.chapter.name === name) && (!letters.length || letters.some(l => verdicts.includes(l)))
        && (engine < 0 || letters.length > 0 || verdicts !== "-") && words.every(w => item.text.includes(w));
      visible += item.shown;
    }
    for (const found of chapters) {
      const here = found.cases.filter(c => c.shown).length;
      found.section.hidden = !here;
      found.count.textContent = here < found.cases.length ? `${number(here)} of ${plural(found.cases.length)}` : plural(here);
      const open = here > 0 && (visible <= AT_ONCE || name !== "");
      if (open !== found.opened) found.details.open = found.opened = open;
      draw(found);
    }
    shown.textContent = `${number(visible)} of ${plural(cases.length)} shown`;
    none.hidden = visible > 0;
  }

  // The filter's state is the page's fragment, "#?v=fail&e=torch": a link carries it. Any other fragment is a case.
  function write() {
    const state = new URLSearchParams();
    for (const name of ["q", "c", "e"]) if (form.elements[name].value) state.set(name, form.elements[name].value);
    for (const tick of ticks) if (tick.checked) state.append("v", tick.value);
    history.replaceState(null, "", state.size ? "#?" + state : location.pathname + location.search);
    return apply();
  }
  function set(state) {
    for (const name of ["q", "c", "e"]) form.elements[name].value = state.get(name) || "";
    for (const tick of ticks) tick.checked = state.getAll("v").includes(tick.value);
  }
  async function read() {
    const hash = location.hash;
    if (hash.startsWith("#?")) {
      set(new URLSearchParams(hash.slice(2)));
      await apply();
      if (document.readyState === "complete") form.scrollIntoView();
      return;
    }
    let name = hash.slice(1);
    try { name = decodeURIComponent(name); } catch { /* as it stands */ }
    const item = byName.get(name), found = item ? item.chapter : chapters.find(c => "chapter:" + c.name === name);
    if (found && !(item ? item.shown : found.cases.some(c => c.shown))) set(new URLSearchParams());
    await apply();
    for (const at of document.querySelectorAll(".at")) at.classList.remove("at");
    if (item) {
      await reveal(item);
      item.element.classList.add("at");
      item.element.scrollIntoView();
    } else if (found) {
      found.details.open = true;
      draw(found);
      found.section.scrollIntoView();
    }
  }
  // Opens a case, and all that it stands in.
  async function reveal(item) {
    item.chapter.details.open = true;
    draw(item.chapter);
    if (!item.operator) {
      item.element.open = true;
      return fill(item, item.element);
    }
    item.operator.element.open = true;
    table(item.operator);
    return toggle(item, true);
  }

  form.addEventListener("input", write);
  form.addEventListener("submit", event => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(write));
  window.addEventListener("hashchange", read);
  document.getElementById("openall").addEventListener("click", () => {
    let left = 200;
    for (const found of chapters.filter(c => !c.section.hidden)) {
      if (left <= 0) break;
      found.details.open = true;
      draw(found);
      for (const item of [...found.rows.children].slice(0, left)) { item.open = true; left -= 1; }
    }
  });
  document.addEventListener("keydown", event => {
    if (event.key === "/" && !event.target.closest("input, select, textarea")) { event.preventDefault(); form.elements.q.focus(); }
  });
  document.addEventListener("click", async event => {
    const button = event.target.closest("button.copy");
    if (!button) return;
    const code = button.parentElement.querySelector("code");
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(code);
      button.textContent = "Selected";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });

  form.hidden = false;
  await read();
  if (!location.hash) for (const name of data.opened) if (byName.has(name)) await reveal(byName.get(name));
})();
