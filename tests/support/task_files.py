"""Small local files in the formats of the datasets of tasks, and the overrides that read them."""

import json
import zipfile

LONG = " ".join(f"Sentence {i} of {{the}} report, naïve as it is." for i in range(40))
CLASSES = ["Number", "Date", "City"]
LONGBENCH = {  # task -> answers and classes
    "hotpotqa": (["Paris"], None),
    "trec": (["Date"], CLASSES),
    "samsum": (["Anna is late."], None),
    "passage_retrieval_en": (["Paragraph 3"], None),
    "lcc": (["return x"], None),
}


def longbench_rows(task, rows=3):
    """Return rows of a task as LongBench has them, the first of them short."""
    answers, classes = LONGBENCH[task]
    shared = {"answers": answers, "length": 300, "dataset": task, "language": "en", "all_classes": classes}
    texts = ["One short text." if i == 0 else f"{i}. {LONG}" for i in range(rows)]
    return [{"input": f"Which {i}?", "context": text, **shared, "_id": f"{task}{i}"} for i, text in enumerate(texts)]


def save_lines(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def save_longbench(folder):
    """Save every task, and return the folder."""
    for task in LONGBENCH:
        save_lines(folder / f"{task}.jsonl", longbench_rows(task))
    return folder


def save_archive(path):
    """Save the tasks as the archive of LongBench holds them, and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for task in LONGBENCH:
            lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in longbench_rows(task))
            archive.writestr(f"data/{task}.jsonl", lines)
    return path


def answer(**changes):
    return {"unanswerable": False, "extractive_spans": [], "yes_no": None, "free_form_answer": ""} | changes


def qasper_row():
    """Return a paper with three questions in the columns of the hub."""
    answers = [
        [answer(yes_no=False), answer(unanswerable=True)],
        [answer(extractive_spans=["a span", "another"]), answer(free_form_answer="own words")],
        [answer(yes_no=True)],
    ]
    asked = {"question": ["Is it?", "What is it?", "Was it?"], "question_id": ["q0", "q1", "q2"]}
    sections = {"section_name": ["Title", None], "paragraphs": [["One.", "Two."], [LONG]]}
    return {
        "id": "1234.5678",
        "title": "A paper",
        "abstract": "Of it.",
        "full_text": sections,
        "qas": asked | {"answers": [{"answer": some} for some in answers]},
    }


def save_tasks(folder):
    """Save what every evaluation of tasks reads, and return the overrides that make them read it."""
    save_longbench(folder / "longbench")
    papers = save_lines(folder / "qasper.jsonl", [qasper_row()])
    reports = save_lines(folder / "reports.jsonl", [{"report": f"{i} {LONG}", "summary": "A report."} for i in (1, 2)])
    local = {"qasper": papers, "gov_report": reports}
    return [
        f"evaluation.longbench.source.path={folder / 'longbench'}",
        f"evaluation.longbench.chosen=[{','.join(LONGBENCH)}]",
        "evaluation.qasper.source.load.name=null",
        "evaluation.qasper.source.load.revision=null",
        *(f"evaluation.{name}.source.load.path=json" for name in local),
        *(f"evaluation.{name}.source.load.data_files={path}" for name, path in local.items()),
        *(f"evaluation.{name}.source.load.split=train" for name in local),
    ]
