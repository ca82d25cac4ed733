package greet

const Version = "1.2.0"
