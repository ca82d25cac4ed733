document.title = "hello from dist";
