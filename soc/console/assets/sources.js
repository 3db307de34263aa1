// The page of a source: shows what came of it without a reload, and copies its lines.
"use strict";
const heard = document.getElementById("heard");
const state = () => heard.querySelector("[data-state]")?.dataset.state ?? "";

async function look() {
  try {
    const answer = await fetch(heard.dataset.from, { headers: { accept: "text/html", "soc-renewal": "1" }, redirect: "error" });
    if (answer.ok) heard.innerHTML = await answer.text();
  } catch { /* the centre restarts: the next look tells */ }
  setTimeout(look, state() === "heard" ? 10000 : 1000);
}
setTimeout(look, 1000);

if (navigator.clipboard) {
  for (const button of document.querySelectorAll("[data-copy]")) {
    button.hidden = false;
    button.addEventListener("click", () => navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent.trim()));
  }
}
