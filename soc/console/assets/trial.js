// Try it now: shows the alert of the pasted line without a reload, and copies the line.
"use strict";
const trial = document.getElementById("trial");

async function look() {
  try {
    const answer = await fetch(trial.dataset.from, { headers: { accept: "text/html", "soc-renewal": "1" }, redirect: "error" });
    if (answer.ok) trial.innerHTML = await answer.text();
  } catch { /* the centre restarts: the next look tells */ }
  if (!trial.querySelector('[data-state="judged"]')) setTimeout(look, 500);
}
setTimeout(look, 500);

if (navigator.clipboard) {
  for (const button of document.querySelectorAll("[data-copy]")) {
    button.hidden = false;
    button.addEventListener("click", () => navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent.trim()));
  }
}
