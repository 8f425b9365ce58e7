"""Twelve steps on seven levels, three of them groups; two of its steps read only the inputs and are in order."""

import asyncio

from cerebelum import step, workflow

PAUSE_S = 0.01
four = asyncio.Barrier(4)


async def work(text):
    await asyncio.sleep(PAUSE_S)
    return text


async def work_together(text):
    async with asyncio.timeout(10):
        await four.wait()  # passed only by four that run side by side
    return text


@step
async def open_file(context, inputs):
    return {"id": await work(f"file-{inputs['name'].lower()}")}


@step
async def check_form(context, inputs):
    await asyncio.sleep(PAUSE_S)
    missing = [key for key in ("name", "subject") if key not in inputs]
    return {"error": f"missing: {missing}"} if missing else {"ok": inputs["subject"]}


@step
async def library_card(context, open_file):
    return await work_together(f"card for {open_file['id']}")


@step
async def mailbox(context, open_file):
    return await work_together(f"{open_file['id']}@school")


@step
async def locker(context, open_file):
    return await work_together(len(open_file["id"]))


@step
async def timetable(context, check_form):
    return await work_together([f"{check_form} 1", f"{check_form} 2"])


@step
async def books(context, timetable):
    return await work({lesson: f"book of {lesson}" for lesson in timetable})


@step
async def teachers(context, timetable):
    return await work(sorted({lesson.split()[0] for lesson in timetable}))


@step
async def welcome(context, mailbox, timetable):
    return await work(f"to {mailbox}: {timetable[0]}")


@step
async def tell_teachers(context, teachers, open_file):
    return await work([f"{one}: {open_file['id']}" for one in teachers])


@step
async def bill(context, books, locker):
    return await work(10 * len(books) + locker)


@step
async def summary(context, inputs, library_card, welcome, tell_teachers, bill):
    return {"who": inputs["name"], "card": library_card, "mail": welcome, "told": tell_teachers, "owes": bill}


@workflow
def enrolment(wf):
    wf.timeline(
        open_file
        >> check_form
        >> [library_card, mailbox, locker, timetable]
        >> [books, teachers]
        >> [welcome, tell_teachers, bill]
        >> summary
    )


async def main():
    result = await enrolment.execute({"name": "Noor", "subject": "maths"})
    for key, value in result.output["ok"].items():
        print(key, value)


asyncio.run(main())
