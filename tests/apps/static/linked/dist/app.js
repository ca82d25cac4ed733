document.title = "hello through a link";
