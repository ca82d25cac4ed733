const fs = require("fs");
fs.writeFileSync("build.txt", `ms ${require("ms/package.json").version}`);
