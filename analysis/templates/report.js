"use strict";
// Tooltips: the <title> of a mark, shown at once and beside the pointer.
const tip = document.getElementById("tip");
for (const mark of document.querySelectorAll("svg.plot title")) {
  mark.parentNode.tip = mark.textContent;
  mark.remove();
}
const lit = (subject, on) => {
  for (const mark of document.querySelectorAll("svg.plot [data-s]"))
    if (mark.dataset.s === subject) mark.classList.toggle("lit", on);
};
for (const plot of document.querySelectorAll("svg.plot")) {
  plot.addEventListener("pointermove", (event) => {
    if (!event.target.tip) return tip.classList.remove("on");
    tip.textContent = event.target.tip;
    tip.classList.add("on");
    const x = Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8);
    const y = Math.min(event.clientY + 14, innerHeight - tip.offsetHeight - 8);
    tip.style.transform = `translate(${x}px, ${y}px)`;
  });
  plot.addEventListener("pointerleave", () => tip.classList.remove("on"));
  plot.addEventListener("pointerover", (event) => event.target.dataset.s && lit(event.target.dataset.s, true));
  plot.addEventListener("pointerout", (event) => event.target.dataset.s && lit(event.target.dataset.s, false));
  plot.addEventListener("click", (event) => {
    const engine = event.target.closest(".engine");
    if (!event.target.dataset.s || !engine) return;
    for (const part of engine.querySelectorAll(".subject"))
      if (part.dataset.subject === event.target.dataset.s) location.hash = part.id;
  });
}
// Tables: a click on a heading sorts; what has no value stays at the end.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.addEventListener("click", () => {
    const down = !head.classList.contains("down");
    heads.forEach((other) => other.classList.remove("up", "down"));
    head.classList.add(down ? "down" : "up");
    const key = (row) => row.cells[column]?.dataset.v ?? row.cells[column]?.textContent ?? "";
    const numeric = head.dataset.sort === "number";
    const order = (a, b) => {
      const [p, q] = [key(a), key(b)];
      if (p === "" || q === "") return (p === "") - (q === "");
      const sign = numeric ? q - p : p.localeCompare(q, undefined, { numeric: true });
      return down ? sign : -sign;
    };
    table.tBodies[0].append(...[...table.tBodies[0].rows].sort(order));
  }));
}
for (const controls of document.querySelectorAll(".controls")) {
  const [search, doubtful] = controls.querySelectorAll("input");
  const rows = controls.nextElementSibling.querySelectorAll("tbody tr");
  const filter = () => {
    const words = search.value.toLowerCase();
    for (const row of rows)
      row.classList.toggle("hidden", !row.textContent.toLowerCase().includes(words) || (doubtful.checked && row.dataset.good === "1"));
  };
  search.addEventListener("input", filter);
  doubtful.addEventListener("input", filter);
}
// Engines: one at a time; a link into another one brings it up.
const engines = [...document.querySelectorAll(".engine")];
const buttons = [...document.querySelectorAll(".tabs button")];
const show = (id) => {
  engines.forEach((part) => part.classList.toggle("hidden", part.id !== id));
  buttons.forEach((button) => button.classList.toggle("on", button.dataset.engine === id));
};
const follow = () => {
  const target = location.hash && document.getElementById(location.hash.slice(1));
  const engine = target && target.closest(".engine");
  if (engine && engine.classList.contains("hidden")) { show(engine.id); target.scrollIntoView(); }
};
if (buttons.length) {
  buttons.forEach((button) => button.addEventListener("click", () => show(button.dataset.engine)));
  show(engines[0].id);
  addEventListener("hashchange", follow);
  follow();
}
// Paper shows what is folded.
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((part) => (part.open = true)));
