#!/usr/bin/python3
"""man.py PAGE.md MAN: turn a page of this directory into a manual page, man(7).

Knows of Markdown what these pages use: headings, paragraphs, lists, definitions (a line of terms and one that begins with
": "), blocks of text as it stands, tables, and within a line `text`, **bold**, *italic* and [links](to).
"""
import re
import sys

REQUIRED = ["Name", "Synopsis", "Description", "See also"]
ITEM = re.compile(r"( *)([-*]|\d+\.) +(.*)")


def escape(text):
    return text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace("^", "\\(ha").replace("~", "\\(ti")


def inline(text):
    """One line of text, with what is marked in it."""
    out = []
    for part in re.split(r"(``.+?``|`[^`]+`|\*\*.+?\*\*|(?<![\w*])\*[^*\s][^*]*\*|\[[^\]]+\]\([^)]+\))", text):
        code = re.fullmatch(r"`` ?(.+?) ?``|`([^`]+)`", part)
        link = re.fullmatch(r"\[([^\]]+)\]\(([^)]+)\)", part)
        if code:
            out.append("\\fB%s\\fR" % escape(code.group(1) or code.group(2)))
        elif link:
            out.append("%s (%s)" % (escape(link.group(1)), escape(link.group(2))))
        elif part.startswith("**"):
            out.append("\\fB%s\\fR" % inline(part[2:-2]).replace("\\fR", "\\fB"))
        elif len(part) > 2 and part[0] == part[-1] == "*":
            out.append("\\fI%s\\fR" % escape(part[1:-1]))
        else:
            out.append(escape(part))
    return "".join(out)


def line(text):
    text = inline(text)
    return "\\&" + text if text.startswith(".") else text


def literal(lines):
    return [".PP", ".RS 4", ".EX"] + ["\\&" + escape(text) for text in lines] + [".EE", ".RE"]


def breakable(text):
    """A cell whose long words (topics, JSON) may be cut: a column is as wide as the longest that may not."""
    out = []
    for word in text.split(" "):
        parts = re.split(r"(?<=[,/{\[=])(?=[\w\"{])", word) if len(word) > 16 else [word]
        out.append("\\:".join(re.sub(r"(?<=[_:])(?=[\w\"])", r"\\:", part) if len(part) > 22 else part for part in parts))
    return " ".join(out)


def table(rows):
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", row.strip("|"))] for row in rows]
    cells = [row for row in cells if not all(re.fullmatch(r":?-+:?", cell) for cell in row)]
    out = [".TS", "allbox tab(\t);", " ".join(["lx"] * len(cells[0])) + "."]
    for row in cells:
        out.append("\t".join("T{\n%s\nT}" % breakable(line(cell)) for cell in row))
    return out + [".TE"]


def blocks(lines):
    """(kind, lines) of each block; definitions and items without their mark."""
    at = 0
    while at < len(lines):
        begin = at
        text = lines[at]
        if not text:
            at += 1
        elif text.startswith("```"):
            at = lines.index("```", at + 1) + 1
            yield "literal", lines[begin + 1:at - 1]
        elif text.startswith("    "):
            while at < len(lines) and (lines[at].startswith("    ") or not lines[at]):
                at += 1
            yield "literal", [each[4:] for each in "\n".join(lines[begin:at]).rstrip().split("\n")]
        elif text.startswith("#"):
            at += 1
            yield "heading", [text]
        elif text.startswith("|"):
            while at < len(lines) and lines[at].startswith("|"):
                at += 1
            yield "table", lines[begin:at]
        else:
            mark = ": " if text.startswith(": ") else ITEM.match(text) and "item"
            at += 1
            while at < len(lines) and lines[at] and not lines[at].startswith((": ", "```", "|", "#")) and \
                    not (ITEM.match(lines[at]) and mark == "item"):
                at += 1
            kind = "term" if at < len(lines) and lines[at].startswith(": ") else "text"
            yield "definition" if mark == ": " else mark or kind, [text.rstrip()] + [each.strip() for each in lines[begin + 1:at]]


def convert(text):
    out = []
    headings = []
    for kind, lines in blocks(text.rstrip().split("\n")):
        joined = " ".join(lines)
        if kind == "heading":
            mark, title = joined.split(" ", 1)
            if mark == "#":
                name, section = re.fullmatch(r"(\S+)\((\d)\)", title).groups()
                out += ["'\\\" t", '.TH %s %s "" "fieldgate" "fieldgate"' % (escape(name), section), ".nr HY 0", ".ad l"]
            else:
                headings.append(title)
                out.append('.SH %s' % inline(title).upper() if mark == "##" and "`" not in title else ".SS " + inline(title))
        elif kind == "literal":
            out += literal(lines)
        elif kind == "table":
            out += table(lines)
        elif kind == "term":
            out += [".TP", line(joined)]
        elif kind == "definition":
            out.append(line(joined[2:]))
        elif kind == "item":
            indent, mark, rest = ITEM.match(joined).groups()
            item = ['.IP "%s" 4' % ("\\(bu" if mark in "-*" else mark), line(rest)]
            out += [".RS 4"] + item + [".RE"] if indent else item
        else:
            out += [".PP", line(joined)]
    missing = [each for each in REQUIRED if each not in headings]
    if missing:
        raise SystemExit("a manual page needs the heading " + ", ".join(missing))
    return "\n".join(out) + "\n"


def main(source, target):
    with open(source, encoding="utf-8") as f:
        page = convert(f.read())
    with open(target, "w", encoding="utf-8") as f:
        f.write(page)


if __name__ == "__main__":
    main(*sys.argv[1:])
