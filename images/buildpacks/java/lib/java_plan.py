"""``java_plan.py BUILD_DIR ENV_DIR JAVA``: prints the plan of a Java app, with the builder's Java."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

import java_version
from planning.app import App, read_app

FILES = (
    "pom.xml", "mvnw", ".mvn/wrapper/maven-wrapper.properties", "build.gradle", "build.gradle.kts",
    "gradlew", "gradle/wrapper/gradle-wrapper.properties",
    "system.properties", ".java-version", ".sdkmanrc", ".tool-versions", "Main.java",
)  # fmt: skip
OLDEST, NEWEST = 8, 29
MAIN = re.compile(r"\bstatic\s+(?:final\s+)?void\s+main\s*\(")


def main(root: str, config: str, have: str) -> None:
    sys.stdout.write(json.dumps(make(read_app(root, config), have), indent=2) + "\n")


def make(app: App, have: str) -> dict[str, Any]:
    language, problems = choose_java(app, have)
    tool, steps, because, tool_problems = choose_tool(app)
    starts = choose_start(app, tool)
    return {
        "buildpack": "java",
        "found": app.has(*FILES),
        "manager": {
            "name": tool,
            "version": "the builder's" if tool in ("maven", "javac") else "the app's",
            "because": because,
        },
        "language": language,
        "front_end": [],
        "steps": steps,
        "classes": starts,
        "processes": {"web": ".java/web"} if starts or tool != "javac" else {},
        "because": f"the class {starts[0]}" if starts else "the jar that the build leaves and that can be started",
        "warnings": choose_warnings(tool, starts),
        "problems": [*problems, *tool_problems],
    }


def choose_java(app: App, have: str) -> tuple[dict[str, Any], list[str]]:
    asked = java_version.read_asked(app)
    builders, wanted = java_version.feature(have), java_version.feature(asked.version)
    language = {
        "name": "java",
        "version": have,
        "because": f"{asked.version} in {asked.because}" if asked.version else asked.because,
        "fetched": False,
    }
    if asked.version and not OLDEST <= wanted <= NEWEST:
        return language, [
            f"{asked.because} asks for Java '{asked.version}', which is none. Write its number, like {builders}."
        ]
    if not asked.version or wanted == builders or (asked.least and wanted < builders):
        return language, []
    return {**language, "version": str(wanted), "fetched": True}, []


def choose_tool(app: App) -> tuple[str, list[str], str, list[str]]:
    """The tool's name, its commands, why it is this one, and the app's faults."""
    gradle = app.has("build.gradle", "build.gradle.kts", "settings.gradle", "settings.gradle.kts")
    if app.has("pom.xml") or (app.has("mvnw") and not app.has("gradlew")):
        return _maven(app)
    if app.has("gradlew"):
        complete = app.has("gradle/wrapper/gradle-wrapper.properties")
        problem = "There is gradlew, and no gradle/wrapper/gradle-wrapper.properties. Commit the folder gradle/wrapper."
        return "gradle-wrapper", [gradle_command(app)], "gradlew", [] if complete else [problem]
    if gradle:
        return "gradle", [], gradle[0], [f"There is {gradle[0]} and no gradlew. Commit the wrapper: gradle wrapper."]
    return "javac", [f"javac -d target/classes {sources(app)}/**.java"], "sources without a build tool", []


def _maven(app: App) -> tuple[str, list[str], str, list[str]]:
    if not app.has("pom.xml"):
        return (
            "maven-wrapper",
            [],
            "mvnw",
            ["There is mvnw and no pom.xml. Commit it, or name the app's folder as PROJECT_DIR."],
        )
    if app.has("mvnw") and app.has(".mvn/wrapper/maven-wrapper.properties"):
        return "maven-wrapper", [maven_command(app, "./mvnw")], "mvnw", []
    because = "pom.xml, and mvnw without .mvn/wrapper/maven-wrapper.properties" if app.has("mvnw") else "pom.xml"
    return "maven", [maven_command(app, "mvn")], because, []


def maven_command(app: App, program: str) -> str:
    settings = " --settings settings.xml" if app.has("settings.xml") else ""
    options, goals = (
        app.config.get("MAVEN_CUSTOM_OPTS") or "-DskipTests",
        app.config.get("MAVEN_CUSTOM_GOALS") or "clean package",
    )
    return f"{program} --batch-mode --no-transfer-progress{settings} {options} {goals}"


def gradle_command(app: App) -> str:
    """A task "stage" is made for platforms; an app without Spring Boot may start from its installation."""
    text = "\n".join(re.sub(r"//.*", "", app.text(name)) for name in app.has("build.gradle", "build.gradle.kts"))
    tasks = app.config.get("GRADLE_TASK", "")
    if not tasks and re.search(r"task\s+stage\b|[\"']stage[\"']", text):
        tasks = "stage"
    if not tasks:
        application = re.search(
            r"^\s*(id[\s(]*[\"']application[\"']|application\s*$|apply plugin: *[\"']application)", text, re.MULTILINE
        )
        tasks = (
            "build installDist -x check" if application and "org.springframework.boot" not in text else "build -x check"
        )
    return f"./gradlew --no-daemon --console=plain {tasks}"


def sources(app: App) -> str:
    return "src/main/java" if (app.root / "src/main/java").is_dir() else "."


def choose_start(app: App, tool: str) -> list[str]:
    """The classes with a main method, of sources that javac alone compiles; one named Main comes first."""
    if tool != "javac":
        return []
    root, classes = app.root / sources(app), []
    for path in sorted(root.rglob("*.java")):
        text = path.read_text(errors="replace")
        if MAIN.search(text) and "test" not in path.relative_to(root).parts:
            package = re.search(r"^\s*package\s+([\w.]+)\s*;", text, re.MULTILINE)
            classes.append(f"{package[1]}.{path.stem}" if package else path.stem)
    return sorted(classes, key=lambda name: (not name.endswith("Main"), name))


def choose_warnings(tool: str, classes: list[str]) -> list[str]:
    if tool != "javac":
        return []
    if not classes:
        return ["No class has a main method, so nothing can be started. Add one, or a Procfile."]
    mains = [name for name in classes if name.split(".")[-1] == "Main"]
    if len(classes) > 1 and len(mains) != 1:
        started = f"{classes[0]} is started. Name another in a Procfile: web: java -cp target/classes NAME"
        return [f"{len(classes)} classes have a main method; {started}"]
    return []


if __name__ == "__main__":
    main(*sys.argv[1:4])
