// Minifies the style sheet, as a real front end's build would.
const fs = require("node:fs");
const CleanCSS = require("clean-css");

fs.mkdirSync("dist", { recursive: true });
fs.writeFileSync("dist/style.css", new CleanCSS().minify(fs.readFileSync("style.css", "utf8")).styles);
