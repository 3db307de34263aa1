// The overview: the newest alerts stand on the open page within a few seconds, without a reload.
"use strict";
{
  const newest = document.getElementById("newest");
  renewing(newest, 3000, (text) => {
    if (text !== newest.dataset.shown && !newest.contains(document.activeElement)) newest.innerHTML = newest.dataset.shown = text;
    return 3000;
  });
}
