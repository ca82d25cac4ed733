// A small web app: tells what runs it, and serves what its build script made.
const express = require("express");

const app = express();
app.get("/", (request, response) =>
  response.json({ app: "node", version: process.version, greeting: process.env.GREETING || "hello" }));
app.use(express.static("dist"));
const server = app.listen(process.env.PORT || 8080);
process.on("SIGTERM", () => server.close());
