"use strict";
const $ = (id) => document.getElementById(id);
const [drop, progress, status, bar, answer] = ["drop", "progress", "status", "bar", "answer"].map($);
const mostBytes = Number(document.body.dataset.mostMb) * 2 ** 20;
const mostFiles = Number(document.body.dataset.mostFiles);
let request = null;

// Files: dropped, or chosen. A dropped folder is walked; what begins with a dot is none of the study.
const walked = async (entry) => {
  if (!entry || entry.name.startsWith(".")) return [];
  if (entry.isFile) return [await new Promise((good, bad) => entry.file(good, bad))];
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    const some = await new Promise((good, bad) => reader.readEntries(good, bad));
    if (!some.length) return found;
    for (const one of some) found.push(...(await walked(one)));
  }
};
const dropped = async (data) => {
  const entries = [...data.items].filter((item) => item.kind === "file").map((item) => item.webkitGetAsEntry());
  return (await Promise.all(entries.map(walked))).flat();
};

// The body: of every file its length in eight bytes, then its bytes. No name is sent.
const parcel = (files) => {
  const parts = [];
  for (const file of files) {
    const length = new DataView(new ArrayBuffer(8));
    length.setBigUint64(0, BigInt(file.size));
    parts.push(length.buffer, file);
  }
  return new Blob(parts);
};
const send = (files) => {
  const visible = files.filter((file) => !file.name.startsWith("."));
  const total = visible.reduce((sum, file) => sum + file.size, 0);
  if (!visible.length) return refuse("There were no files in it.", "Drop a folder, .dcm files, or one ZIP.");
  if (visible.length > mostFiles)
    return refuse(`These are ${visible.length} files.`, `Drop one study, at most ${mostFiles} files.`);
  if (total > mostBytes)
    return refuse(`These are ${mega(total)}.`, `Drop just the sagittal T2 series, or restart with a larger --max-mb than ${mega(mostBytes)}.`);
  ask("study", parcel(visible), `${visible.length === 1 ? "1 file" : `${visible.length} files`}, ${mega(total)}`);
};
const mega = (bytes) => `${(bytes / 2 ** 20).toFixed(bytes < 10 * 2 ** 20 ? 1 : 0)} MB`;

// One request at a time: sending, looking, showing.
const ask = (path, body, what) => {
  if (request) return;
  request = new XMLHttpRequest();
  const started = performance.now();
  const looking = body ? "Looking at it …" : "Generating a spine, then looking at it …";
  busy(true);
  say(body ? `Sending ${what} …` : looking);
  bar.removeAttribute("value");
  request.upload.onprogress = (event) => {
    bar.max = event.total;
    bar.value = event.loaded;
  };
  request.upload.onload = () => { say(looking); bar.removeAttribute("value"); };
  request.onload = () => show(request.responseText, request.status === 200, performance.now() - started);
  request.onerror = () => refuse("The page has lost the program that serves it.", "See whether lam try-spine is still running in its terminal; if it is, drop the study again.");
  request.onabort = () => { busy(false); say(""); };
  request.open("POST", path);
  request.setRequestHeader("Content-Type", "application/x-lamstore-files");
  request.send(body);
};
const say = (text) => { status.textContent = text; };
const busy = (on) => {
  progress.hidden = !on;
  document.querySelectorAll("#drop button").forEach((button) => (button.disabled = on));
  if (on) answer.replaceChildren();
  else request = null;
};
const show = (html, good, milliseconds) => {
  busy(false);
  say(`${good ? "Done" : "Not looked at"}, ${(milliseconds / 1000).toFixed(1)} s.`);
  answer.innerHTML = html;
  drop.classList.add("small");
  answer.querySelectorAll(".viewer").forEach(leaf);
  answer.focus({ preventScroll: true });
  answer.scrollIntoView({ block: "start" });
};
const refuse = (what, todo) => {
  busy(false);
  const box = document.createElement("article");
  box.className = "refused";
  box.setAttribute("role", "alert");
  for (const [name, text] of [["verdict", what], ["do", todo]]) {
    const line = document.createElement("p");
    line.className = name;
    line.textContent = text;
    box.append(line);
  }
  answer.replaceChildren(box);
  answer.focus({ preventScroll: true });
};

// Slices: leafed through with the slider, the buttons of the levels, the wheel.
const leaf = (viewer) => {
  const layers = [...viewer.querySelectorAll(".layer")];
  const slider = viewer.querySelector("input[type=range]");
  const jumps = [...viewer.querySelectorAll(".jump button")];
  const turn = () => {
    const layer = layers[slider.value];
    layers.forEach((one) => (one.hidden = one !== layer));
    jumps.forEach((jump) => jump.classList.toggle("on", jump.dataset.position === slider.value));
    const levels = layer.dataset.levels ? ` · peak of ${layer.dataset.levels}` : "";
    viewer.querySelector(".where").textContent = `Slice ${layer.dataset.number} of ${viewer.dataset.total}${levels}`;
    slider.setAttribute("aria-valuetext", viewer.querySelector(".where").textContent);
  };
  slider.addEventListener("input", turn);
  jumps.forEach((jump) => jump.addEventListener("click", () => { slider.value = jump.dataset.position; turn(); }));
  for (const box of viewer.querySelectorAll("[data-hides]"))
    box.addEventListener("change", () => viewer.classList.toggle(box.dataset.hides, !box.checked));
  turn();
};

for (const [button, input] of [["pick-files", "files"], ["pick-folder", "folder"]]) {
  $(button).addEventListener("click", () => $(input).click());
  $(input).addEventListener("change", () => { send([...$(input).files]); $(input).value = ""; });
}
for (const button of document.querySelectorAll("[data-sample]"))
  button.addEventListener("click", () => ask(`sample/${button.dataset.sample}`, null, ""));
$("cancel").addEventListener("click", () => request && request.abort());
let inside = 0;
for (const [name, step] of [["dragenter", 1], ["dragleave", -1]])
  addEventListener(name, (event) => { event.preventDefault(); inside += step; drop.classList.toggle("over", inside > 0); });
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", async (event) => {
  event.preventDefault();
  inside = 0;
  drop.classList.remove("over");
  if (request) return;
  try {
    send(await dropped(event.dataTransfer));
  } catch {
    refuse("A dropped file could not be read.", "See whether you may read it, then drop the study again.");
  }
});
