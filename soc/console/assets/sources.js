// The page of a source: shows what came of it without a reload, and copies its lines.
"use strict";
{
  const heard = document.getElementById("heard");
  renewing(heard, 1000, (text) => {
    heard.innerHTML = text;
    return heard.querySelector('[data-state="heard"]') ? 10000 : 1000;
  });
  copying();
}
