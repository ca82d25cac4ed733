const functions = require("@google-cloud/functions-framework");
const ms = require("ms/package.json").version;

functions.http("greet", (request, response) => response.send(`hello from ms ${ms}`));
