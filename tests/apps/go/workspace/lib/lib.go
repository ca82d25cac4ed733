package lib

const Word = "hello"
