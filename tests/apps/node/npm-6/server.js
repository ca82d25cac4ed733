const fs = require("fs");
const ms = require("ms/package.json").version;
const left = fs.existsSync("node_modules/left-pad") ? " and left-pad" : "";
require("http").createServer((request, response) => response.end("hello from ms " + ms + left + "\n")).listen(process.env.PORT);
