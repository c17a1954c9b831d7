"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const root = document.documentElement;

  // The switch between light and dark: what the reader chose goes over the system's scheme.
  const systemDark = window.matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : systemDark.matches);
  const showTheme = () => $("theme").setAttribute("aria-pressed", String(isDark()));
  $("theme").addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    try {
      localStorage.setItem("sembridge-theme", root.dataset.theme);
    } catch {
      // no storage: the choice lasts as long as the page
    }
    showTheme();
  });
  systemDark.addEventListener("change", showTheme);
  showTheme();

  // On paper every table is open.
  let closed = [];
  window.addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("details:not([open])")];
    for (const details of closed) details.open = true;
  });
  window.addEventListener("afterprint", () => {
    for (const details of closed) details.open = false;
  });

  if (!$("x-data")) return;

  // The explorer. Data: columns of bytes, deflated, in base64; see explorer.py.
  const STEP = 50;
  const NO_SIMILARITY = 255;
  const KIND_NAMES = {
    special: "special", exact: "copied", fuzzy: "copied, near spelling", byte: "copied byte",
    combined: "combined", fallback: "drawn", inert: "never used",
  };
  const packed = JSON.parse($("x-data").textContent);
  const unpacked = new Map();
  const state = { transfer: 0, order: "id", shown: STEP, sources: null, rows: [], untouched: true };

  async function inflate(text) {
    const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Response(stream).arrayBuffer();
  }

  const inflateJson = async (text) => JSON.parse(new TextDecoder().decode(await inflate(text)));
  const folded = (text) => text.normalize("NFKC").toLocaleLowerCase();

  async function unpack(place) {
    if (unpacked.has(place)) return unpacked.get(place);
    const of = packed.transfers[place];
    state.sources ??= await inflateJson(packed.sources);
    const [texts, buffer] = [await inflateJson(of.texts), await inflate(of.columns)];
    let at = 0;
    const plane = (length) => new Uint8Array(buffer, (at += length) - length, length);
    const [kind, script, goesOn, support, similarity] = [of.n, of.n, of.n, of.n, of.n].map(plane);
    const [weight, low, middle, high] = [of.n_parts, of.n_parts, of.n_parts, of.n_parts].map(plane);
    const first = new Uint32Array(of.n + 1);
    for (let i = 0; i < of.n; i += 1) first[i + 1] = first[i] + Math.min(support[i], packed.max_parts);
    const part = (i) => low[i] + 256 * middle[i] + 65536 * high[i];
    const found = { ...of, texts, keys: texts.map(folded), kind, script, goesOn, support, similarity, weight, first, part };
    unpacked.set(place, found);
    return found;
  }

  // Exact texts first, then beginnings, then parts of words, then tokens made of an English token of that name.
  function rank(of, row, wanted, sources) {
    const key = of.keys[row];
    if (key === wanted) return 0;
    if (key.startsWith(wanted)) return 1;
    if (key.includes(wanted)) return 2;
    for (let i = of.first[row]; i < of.first[row + 1]; i += 1) if (sources.has(of.part(i))) return 3;
    return null;
  }

  const collator = new Intl.Collator();
  const known = (of, row, otherwise) => (of.similarity[row] === NO_SIMILARITY ? otherwise : of.similarity[row]);
  const ORDERS = {
    id: null,
    unsure: (of) => (a, b) => known(of, a, 999) - known(of, b, 999),
    sure: (of) => (a, b) => known(of, b, -1) - known(of, a, -1),
    wide: (of) => (a, b) => of.support[b] - of.support[a],
    narrow: (of) => (a, b) => (of.support[a] || 999) - (of.support[b] || 999),
    name: (of) => (a, b) => collator.compare(of.texts[a], of.texts[b]),
  };
  const DIRECTIONS = { unsure: "ascending", sure: "descending", wide: "descending", narrow: "ascending", name: "ascending" };

  function find(of) {
    const wanted = folded($("x-query").value.trim()).replace(/^(##|▁|Ġ)(?=.)/u, "");
    const [script, kind] = [$("x-script").value, $("x-kind").value];
    const sources = new Set();
    const bare = (token) => folded(token).replace(/^(##|▁|ġ)(?=.)/u, "");
    if (wanted) state.sources.forEach((token, number) => bare(token) === wanted && sources.add(number));
    const rows = [];
    const ranks = new Map();
    for (let row = 0; row < of.n; row += 1) {
      if (script && of.scripts[of.script[row]] !== script) continue;
      if (kind && of.kinds[of.kind[row]] !== kind) continue;
      const its = wanted ? rank(of, row, wanted, sources) : 0;
      if (its === null) continue;
      rows.push(row);
      ranks.set(row, its);
    }
    const order = ORDERS[state.order];
    if (order) rows.sort(order(of));
    else if (wanted) rows.sort((a, b) => ranks.get(a) - ranks.get(b));
    return rows;
  }

  function element(name, properties, ...children) {
    const made = Object.assign(document.createElement(name), properties);
    made.append(...children);
    return made;
  }

  function cell(label, text, className = "") {
    const made = element("td", { className }, text);
    made.dataset.label = label;
    return made;
  }

  function partButton(of, i) {
    const token = state.sources[of.part(i)];
    const weight = (of.weight[i] / 100).toFixed(2).replace(/^0/, "");
    const made = element("button", { type: "button", className: "part" }, element("bdi", { lang: "en" }, token), element("b", {}, weight));
    made.style.setProperty("--w", String(of.weight[i] / 100));
    made.setAttribute("aria-label", `${token}, weight ${weight}: show what was made of it`);
    made.addEventListener("click", () => {
      $("x-query").value = token;
      $("x-query").focus();
      showAllKinds();
      update();
    });
    return made;
  }

  function tableRow(of, row) {
    const text = element("bdi", of.language ? { lang: of.language } : {}, of.texts[row]);
    const head = element("th", { scope: "row" }, text);
    if (of.goesOn[row]) {
      head.prepend(element("span", { className: "goes-on", title: "goes on a word" }, "··"));
    }
    const parts = element("td", { className: "parts" });
    const [start, end] = [of.first[row], of.first[row + 1]];
    const kind = of.kinds[of.kind[row]];
    for (let i = start; i < end; i += 1) parts.append(partButton(of, i));
    if (of.support[row] > end - start) parts.append(element("span", { className: "more" }, `and ${of.support[row] - end + start} more`));
    const similarity = known(of, row, null);
    return element(
      "tr", {}, head, parts,
      cell("similarity", similarity === null ? "–" : (similarity / 100).toFixed(2), "number"),
      cell("support", String(of.support[row] || "–"), "number"),
      cell("script", of.scripts[of.script[row]]),
      cell("row", KIND_NAMES[kind] ?? kind),
    );
  }

  function showRows(of, from) {
    const rows = state.rows.slice(from, state.shown);
    const made = rows.map((row) => tableRow(of, row));
    if (from) $("x-rows").append(...made);
    else $("x-rows").replaceChildren(...made);
    $("x-more").hidden = state.rows.length <= state.shown;
  }

  function sayCount(of) {
    const count = state.rows.length.toLocaleString("en");
    const left = of.n < of.n_all ? ` (the last ${(of.n_all - of.n).toLocaleString("en")} tokens of the vocabulary were left out to keep this page small)` : "";
    $("x-count").textContent = state.rows.length
      ? `${count} of ${of.n.toLocaleString("en")} tokens${left}`
      : `No token fits${left}. Texts of several tokens have no row of their own: try a part.`;
  }

  function showOrder() {
    $("x-sort").value = state.order;
    for (const button of document.querySelectorAll("#x-table thead button")) {
      const its = button.dataset.orders.split(" ").includes(state.order);
      button.closest("th").setAttribute("aria-sort", (its && DIRECTIONS[state.order]) || "none");
    }
  }

  async function update() {
    const place = state.transfer;
    const of = await unpack(place);
    if (place !== state.transfer) return;
    state.shown = STEP;
    state.rows = find(of);
    showOrder();
    sayCount(of);
    showRows(of, 0);
  }

  function fillSelect(select, entries) {
    select.replaceChildren(...entries.map(([value, text]) => element("option", { value }, text)));
  }

  // The script of most combined rows: the one that the transfer was made for.
  function mainScript(of) {
    const counts = of.scripts.map(() => 0);
    for (let row = 0; row < of.n; row += 1) if (of.kinds[of.kind[row]] === "combined") counts[of.script[row]] += 1;
    return of.scripts[counts.indexOf(Math.max(...counts))];
  }

  async function chooseTransfer(place) {
    state.transfer = place;
    const of = await unpack(place);
    if (place !== state.transfer) return;
    fillSelect($("x-script"), [["", "all"], ...of.scripts.map((script) => [script, script])]);
    fillSelect($("x-kind"), [["", "all"], ...of.kinds.map((kind) => [kind, KIND_NAMES[kind] ?? kind])]);
    if (of.kinds.includes("combined")) [$("x-kind").value, $("x-script").value] = ["combined", mainScript(of)];
    state.untouched = true;
    if ($("x-query").value) showAllKinds();
    await update();
  }

  function setOrder(order) {
    state.order = order;
    update();
  }

  // The first rows shown are the interesting ones; a typed token is looked for among all.
  function showAllKinds() {
    state.untouched = false;
    [$("x-script").value, $("x-kind").value] = ["", ""];
  }

  function listen() {
    let waiting = 0;
    $("x-query").addEventListener("input", () => {
      clearTimeout(waiting);
      waiting = setTimeout(() => {
        if ($("x-query").value && state.untouched) showAllKinds();
        update();
      }, 80);
    });
    $("x-form").addEventListener("submit", (event) => event.preventDefault());
    $("x-transfer").addEventListener("change", (event) => chooseTransfer(Number(event.target.value)));
    for (const id of ["x-script", "x-kind"]) {
      $(id).addEventListener("change", () => {
        state.untouched = false;
        update();
      });
    }
    $("x-sort").addEventListener("change", (event) => setOrder(event.target.value));
    for (const button of document.querySelectorAll("#x-table thead button")) {
      const [first, second] = button.dataset.orders.split(" ");
      button.addEventListener("click", () => setOrder(state.order === first ? second : first));
    }
    $("x-more").addEventListener("click", () => {
      const from = state.shown;
      state.shown += STEP;
      showRows(unpacked.get(state.transfer), from);
      $("x-rows").children[from]?.querySelector("button")?.focus();
    });
    document.addEventListener("keydown", (event) => {
      const typing = event.target.closest("input, select, textarea");
      if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      $("x-query").focus();
    });
  }

  if (!("DecompressionStream" in window)) {
    $("x-count").textContent = "This browser is too old for the explorer; it needs one from 2023 or later.";
    return;
  }
  fillSelect($("x-transfer"), packed.transfers.map((of, place) => [String(place), of.language && of.language !== of.name ? `${of.name} (${of.language})` : of.name]));
  listen();
  chooseTransfer(0).catch((error) => {
    $("x-count").textContent = `The explorer's data cannot be read (${error.message}).`;
  });
})();
