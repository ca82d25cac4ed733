const ms = require("ms/package.json").version;
require("http").createServer((request, response) => response.end("hello from ms " + ms + " with " + require("fs").readFileSync("built.txt", "utf8") + "\n")).listen(process.env.PORT);
