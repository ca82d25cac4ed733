package text

const Word = "hello"
