const fs = require("fs");
fs.mkdirSync("assets", { recursive: true });
fs.writeFileSync("assets/site.txt", `built with ms ${require("ms/package.json").version}`);
