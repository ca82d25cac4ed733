const fs = require("fs");
fs.mkdirSync("public/build", { recursive: true });
fs.writeFileSync("public/build/manifest.json", `built with ms ${require("ms/package.json").version}`);
