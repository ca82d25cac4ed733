plugins {
    id("java")
}
