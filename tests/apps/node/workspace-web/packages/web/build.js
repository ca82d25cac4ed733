require("fs").copyFileSync("server.js", "made.js");
