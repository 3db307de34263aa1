// Lists of alerts: the newest stand on the open page within a few seconds, without a reload. Where there is a button for it
// the list is exchanged when that is pressed, so that nothing moves under who is reading.
"use strict";
{
  const newest = document.getElementById("newest");
  const changed = document.getElementById("changed");
  const button = changed && changed.querySelector("button");
  const rows = (part) => (part.querySelector("tbody") || { innerHTML: "" }).innerHTML;
  const links = (part) => [...part.querySelectorAll("tbody a")].map((link) => link.getAttribute("href"));
  let latest;
  if (button) button.addEventListener("click", () => {
    newest.innerHTML = latest;
    changed.hidden = true;
    newest.querySelector("a")?.focus();
  });
  renewing(newest, 3000, (text) => {
    const read = document.createElement("template");
    read.innerHTML = latest = text;
    const same = rows(read.content) === rows(newest);
    if (button && !same) {
      const before = new Set(links(newest));
      const more = links(read.content).filter((link) => !before.has(link)).length;
      button.textContent = more ? button.dataset.more.replace("{count}", more) : button.dataset.other;
    }
    if (button) changed.hidden = same;
    if (same ? !rows(newest) : !button && !newest.contains(document.activeElement)) newest.innerHTML = text;
    return 3000;
  });
}
