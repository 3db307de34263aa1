// What pages with a script have in common: parts that renew themselves, buttons that copy, places to drop files on.
"use strict";

// Fetches the part of a page that `part.dataset.from` names, again and again; `show` gets its text and says after how many
// milliseconds to look again (0: no more). What the centre does not answer is looked for again later: the strip says so.
function renewing(part, first, show, failed = () => first) {
  const look = async () => {
    let next;
    try {
      const answer = await fetch(part.dataset.from, {
        headers: { accept: "text/html", "soc-renewal": "1" }, redirect: "error", signal: AbortSignal.timeout(10000) });
      if (answer.status === 401) return location.reload();
      if (!answer.ok) throw new Error(answer.statusText);
      next = show(await answer.text());
    } catch {
      next = failed();
    }
    if (next) setTimeout(look, next);
  };
  setTimeout(look, first);
}

function copying() {
  if (!navigator.clipboard) return;
  for (const button of document.querySelectorAll("[data-copy]")) {
    button.hidden = false;
    button.addEventListener("click", () => navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent.trim()));
  }
}

// `take` gets the files that are dropped on `drop` or chosen in `input`.
function dropping(drop, input, take) {
  input.addEventListener("change", () => input.files.length && take([...input.files]));
  for (const kind of ["dragenter", "dragover"]) {
    drop.addEventListener(kind, (event) => { event.preventDefault(); drop.classList.add("over"); });
  }
  drop.addEventListener("dragleave", () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    if (event.dataTransfer.files.length) take([...event.dataTransfer.files]);
  });
}
