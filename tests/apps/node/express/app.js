const { version } = require("ms/package.json");

require("express")().get("/", (request, response) => response.send(`hello from ms ${version}`)).listen(process.env.PORT);
