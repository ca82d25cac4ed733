console.log("moved");
