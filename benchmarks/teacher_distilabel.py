"""The questions of `teacher_capacity` asked by distilabel, in an interpreter of its own that has it.

    python -m venv other && other/bin/pip install "distilabel[openai]==1.5.3" requests
    other/bin/python benchmarks/teacher_distilabel.py URL COUNT AT_ONCE

One step of text generation, a batch of AT_ONCE questions after the other, the client's own two retries. Prints the
number of replies.
"""

import sys


def main():
    from distilabel.models import OpenAILLM
    from distilabel.pipeline import Pipeline
    from distilabel.steps import LoadDataFromDicts
    from distilabel.steps.tasks import TextGeneration

    url, count, most = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    document = "A current mirror copies a current. " * 40
    rows = [{"instruction": f"Question {number}: {document}"} for number in range(count)]
    with Pipeline(name="capacity") as pipeline:
        load = LoadDataFromDicts(data=rows, batch_size=most)
        model = OpenAILLM(model="m", base_url=url, api_key="none", max_retries=2, timeout=30)
        load >> TextGeneration(llm=model, system_prompt="You reply.", input_batch_size=most)
    replies = pipeline.run(use_cache=False)["default"]["train"]["generation"]
    print("\nreplies", sum(reply is not None for reply in replies))


if __name__ == "__main__":
    main()
