// The page of rule packs: shows how far a pack is without a reload, and sends the zip that is dropped on it.
"use strict";
const work = document.getElementById("work");
const stateOf = () => work.querySelector("[data-state]")?.dataset.state ?? "";

async function look() {
  const before = stateOf();
  try {
    const answer = await fetch(work.dataset.from, { headers: { accept: "text/html", "soc-renewal": "1" }, redirect: "error" });
    if (answer.ok) work.innerHTML = await answer.text();
    if (before === "working" && stateOf() === "done") location.reload();
  } catch { /* the centre restarts: the next look tells */ }
  setTimeout(look, stateOf() === "working" ? 1000 : 5000);
}
setTimeout(look, 1000);

const drop = document.getElementById("drop");
if (drop) {
  const input = document.getElementById("pack");
  const sending = document.getElementById("sending");
  const refused = document.getElementById("refused");
  const send = async (file) => {
    refused.hidden = true;
    sending.hidden = false;
    const stem = file.name.replace(/\.zip$/i, "").replace(/[^\p{L}\p{N}_ .+-]/gu, "_").slice(0, 100);
    const name = /^sigma/i.test(stem) || !/^[\p{L}\p{N}_]/u.test(stem) ? "sigma" : stem;
    try {
      const answer = await fetch(`${drop.dataset.to}?name=${encodeURIComponent(name)}`, {
        method: "POST", body: file, headers: { "content-type": "application/zip", "x-csrf-token": drop.dataset.csrf },
      });
      if (answer.ok) return location.reload();
      const told = await answer.json();
      refused.textContent = [told.detail, told.remedy].filter(Boolean).join(" → ");
    } catch (fault) {
      refused.textContent = String(fault);
    }
    refused.hidden = false;
    sending.hidden = true;
    input.value = "";
  };
  input.addEventListener("change", () => input.files.length && send(input.files[0]));
  for (const kind of ["dragenter", "dragover"]) {
    drop.addEventListener(kind, (event) => { event.preventDefault(); drop.classList.add("over"); });
  }
  drop.addEventListener("dragleave", () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    if (event.dataTransfer.files.length) send(event.dataTransfer.files[0]);
  });
}
