const ms = require("ms/package.json").version;
require("http").createServer((request, response) => response.end("hello from ms " + ms + " on Node " + process.versions.node.split(".")[0] + "\n")).listen(process.env.PORT);
