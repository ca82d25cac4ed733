const ms = require("ms/package.json").version;
require("http").createServer((request, response) => response.end("hello from ms " + ms + "\n")).listen(process.env.PORT);
