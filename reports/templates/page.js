"use strict";
(() => {
  const form = document.getElementById("filter"), shown = document.getElementById("shown"), none = document.getElementById("none");
  const sections = [...document.querySelectorAll(".chapter")];
  const cases = [...document.querySelectorAll("details.c")];
  const engines = [...form.elements.e.options].slice(1).map(o => o.value);
  const ticks = [...form.querySelectorAll("[name=v]")];
  const count = cases.length.toLocaleString("en");

  // Details of cases that conform are packed (deflate, base64), a pack per chapter, and unpacked when first wanted.
  const packs = new Map();
  function unpack(section) {
    if (!packs.has(section)) packs.set(section, inflate(section.querySelector(".packed")));
    return packs.get(section);
  }
  async function inflate(element) {
    if (!element) return [];
    const bytes = Uint8Array.from(atob(element.textContent), c => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Response(stream).json();
  }
  async function fill(item) {
    if (item.dataset.k === undefined || item.querySelector(".b")) return;
    const holder = document.createElement("div");
    holder.className = "b";
    item.append(holder);
    try {
      holder.outerHTML = (await unpack(item.closest(".chapter")))[item.dataset.k];
    } catch (error) {
      holder.textContent = "This browser cannot unpack the details (" + error + "): it needs DecompressionStream (browsers since 2023).";
    }
  }
  document.addEventListener("toggle", event => {
    if (event.target.open && event.target.matches("details.c")) fill(event.target);
  }, true);

  // What the free text is looked for in: what the case shows, opened or not.
  const texts = new Map();
  const entity = {"&lt;": "<", "&gt;": ">", "&#34;": '"', "&#39;": "'", "&amp;": "&"};
  async function index() {
    for (const section of sections) {
      const packed = await unpack(section).catch(() => []);
      for (const item of section.querySelectorAll("details.c")) {
        const more = (packed[item.dataset.k] || "").replace(/<[^>]*>/g, "").replace(/&(?:lt|gt|amp|#34|#39);/g, e => entity[e]);
        texts.set(item, (item.id + " " + item.textContent + " " + more).toLowerCase());
      }
    }
  }

  let latest = 0;
  async function apply() {
    const turn = ++latest, words = form.elements.q.value.toLowerCase().split(/\s+/).filter(Boolean);
    const chapter = form.elements.c.value, engine = engines.indexOf(form.elements.e.value);
    const letters = ticks.filter(t => t.checked).map(t => t.dataset.l);
    if (words.length && !texts.size) await index();
    if (turn !== latest) return;
    let visible = 0;
    for (const section of sections) {
      let here = 0;
      for (const item of section.querySelectorAll("details.c")) {
        const verdicts = engine < 0 ? item.dataset.v : item.dataset.v[engine];
        const match = (!chapter || section.dataset.c === chapter) && (!letters.length || letters.some(l => verdicts.includes(l)))
          && (engine < 0 || letters.length || verdicts !== "-") && words.every(w => texts.get(item).includes(w));
        item.hidden = !match;
        here += match;
      }
      section.hidden = !here;
      visible += here;
    }
    shown.textContent = visible.toLocaleString("en") + " of " + count + " cases shown";
    none.hidden = visible > 0;
  }

  // The filter's state is the page's fragment, "#?v=fail&e=torch": a link carries it. Any other fragment is a case.
  function write() {
    const state = new URLSearchParams();
    for (const name of ["q", "c", "e"]) if (form.elements[name].value) state.set(name, form.elements[name].value);
    for (const tick of ticks) if (tick.checked) state.append("v", tick.value);
    history.replaceState(null, "", state.size ? "#?" + state : location.pathname + location.search);
    apply();
  }
  async function read() {
    const hash = location.hash;
    if (hash.startsWith("#?")) {
      const state = new URLSearchParams(hash.slice(2)), wanted = state.getAll("v");
      for (const name of ["q", "c", "e"]) form.elements[name].value = state.get(name) || "";
      for (const tick of ticks) tick.checked = wanted.includes(tick.value);
      await apply();
      if (document.readyState === "complete") form.scrollIntoView();
      return;
    }
    let name = hash.slice(1);
    try { name = decodeURIComponent(name); } catch { /* as it stands */ }
    const target = name && document.getElementById(name);
    if (target && target.matches(".c, .chapter") && (target.hidden || target.closest("[hidden]"))) form.reset();
    await apply();
    for (const item of document.querySelectorAll(".c.at")) item.classList.remove("at");
    if (!target || !target.matches("details.c")) return;
    target.classList.add("at");
    target.open = true;
    await fill(target);
    target.scrollIntoView();
  }
  form.addEventListener("input", write);
  form.addEventListener("submit", event => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(write));
  window.addEventListener("hashchange", read);
  document.getElementById("openall").addEventListener("click", () => {
    for (const item of cases.filter(c => !c.closest("[hidden]")).slice(0, 200)) item.open = true;
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
  const opened = [];
  window.addEventListener("beforeprint", () => {
    for (const item of cases) if (!item.open && !item.closest("[hidden]") && item.dataset.k === undefined) { item.open = true; opened.push(item); }
  });
  window.addEventListener("afterprint", () => { for (const item of opened.splice(0)) item.open = false; });

  form.hidden = false;
  read();
})();
