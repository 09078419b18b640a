# Before anything runs: what it costs, how far it is, why it would be made again. No inputs, so that no graph is built
# and another Snakemake may be at work here; no outputs, so that they always run. `budget_json` and so on print JSON.
QUESTIONS = [f"{question}{form}" for question in ("budget", "status", "why") for form in ("", "_json")]


def answer_file(question):
    """Where an answer lies, once it was asked for: Snakemake clears a log before its job starts."""
    return f"logs/preflight/{question}.txt"


for question in QUESTIONS:

    rule:
        name:
            question
        log:
            f"logs/preflight/{question}.log",
        localrule: True
        conda:
            TRAIN_ENVIRONMENT
        params:
            answer=answer_file(question),
        shell:
            "tee {log} < {params.answer}"


def write_answers(questions):
    """Answer from the plan at hand, before any job starts: another process would plan it all again."""
    from vlrepro.preflight.answers import answer  # is read where it is asked for alone

    try:
        for question in questions:
            write_text(answer_file(question), answer(question, PLAN, Path(), shell_commands()) + "\n")
    except (UserError, OSError) as error:
        sys.exit(f"error: {one_line(error)}")


onstart:
    asked = [name for name in workflow.dag_settings.targets if name in QUESTIONS]
    write_answers(asked)
    # Snakemake looks for more jobs once its timespan for them is over, and does not end before: a second by default.
    limit = workflow.scheduling_settings.max_jobs_per_timespan
    if limit is not None and asked and len(asked) == len(workflow.dag_settings.targets):
        limit.timespan = 0.01
