const fs = require("fs");
fs.writeFileSync("generated.json", JSON.stringify(fs.readFileSync("schema.txt", "utf8").trim()));
