// The overview: the newest alerts stand on the open page within a few seconds, without a reload.
"use strict";
const newest = document.getElementById("newest");

async function again() {
  try {
    const answer = await fetch(newest.dataset.from, { headers: { accept: "text/html", "soc-renewal": "1" }, redirect: "error" });
    const text = answer.ok ? await answer.text() : "";
    if (text && text !== newest.dataset.shown && !newest.contains(document.activeElement)) newest.innerHTML = newest.dataset.shown = text;
  } catch { /* the strip says so */ }
  setTimeout(again, 3000);
}
setTimeout(again, 3000);
