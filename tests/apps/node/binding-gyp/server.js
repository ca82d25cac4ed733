const ms = require("ms/package.json").version;
require("http").createServer((request, response) => response.end(require("./build/Release/hello.node") + " from ms " + ms + "\n")).listen(process.env.PORT);
