"""An activity worker without an SDK, of a namespace with one shard: `python3 worker.py [QUEUE]`. Needs only nats-py."""
import asyncio, json, os, re, sys, time, nats
from nats.js.api import ConsumerConfig

NAMESPACE = os.environ.get("STEPWELL_NAMESPACE", "default")
QUEUE = sys.argv[1] if len(sys.argv) > 1 else "python"
ACTIVITIES = {"count_words": lambda text: len(text.split()), "reverse_text": lambda text: text[::-1]}
ACK_WAIT = 15  # seconds until a task that nobody works on is given to another worker

def failed(kind, error_type, text):
    return {"failed": {"failure": {"kind": kind, "type": error_type, "message": text}}}

async def attempt(task, message, report):
    if message.metadata.num_delivered > 1:  # somebody had it before; the orchestrator decides about retries
        return failed("lost", "WorkerLost", "the worker that held the attempt is gone")
    if task["type"] not in ACTIVITIES or task["v"] != 1:
        return {"refused": {"reason": f"this worker has {', '.join(ACTIVITIES)}, version 1"}}
    if "schedule_to_start_ms" in task or task.get("maximum_attempts") == 1:
        name = f"started-{task['run_id']}/{task['step']}/{task['attempt']}"
        if (await report({"started": {}}, {"Nats-Msg-Id": name})).duplicate:
            return None  # somebody else has begun it; if they are gone, it comes again as a lost one
    limit = task.get("start_to_close_ms")
    call = asyncio.to_thread(ACTIVITIES[task["type"]], task["input"])
    work = asyncio.create_task(asyncio.wait_for(call, limit and limit / 1000))
    while not (await asyncio.wait([work], timeout=ACK_WAIT / 3))[0]:
        await message.in_progress()  # or the task would be given to another worker
    try:
        return {"completed": {"result": work.result()}}
    except asyncio.TimeoutError:
        return failed("start_to_close", "StartToCloseTimeout", f"it took longer than {limit} ms")
    except Exception as error:
        return failed("application", type(error).__name__, str(error))

async def handle(jetstream, message):
    task = json.loads(message.data)
    if task.get("expires_at_ms", float("inf")) <= time.time() * 1000:  # nobody waits for it any more
        return await message.ack()
    workflow = re.sub(rb"[^\w/-]", lambda byte: b"=%02X" % byte[0][0], task["workflow_id"].encode()).decode()
    subject = f"stepwell.{NAMESPACE}.workflow.{workflow}.activity.{task['run_id']}.{task['step']}"
    def report(outcome, headers=None):
        body = {"v": 1, "attempt": task["attempt"], "token": task["token"], "outcome": outcome}
        return jetstream.publish(subject, json.dumps(body).encode(), headers=headers)
    if outcome := await attempt(task, message, report):
        await report(outcome)  # stored first, then acknowledged
        await message.ack()

async def main():
    client = await nats.connect(os.environ.get("NATS_URL", "nats://127.0.0.1:4222"), max_reconnect_attempts=-1)
    config = ConsumerConfig(ack_wait=ACK_WAIT, max_deliver=-1, max_ack_pending=10_000, max_waiting=4_096)
    tasks = await client.jetstream().pull_subscribe(
        f"stepwell.{NAMESPACE}.task.{QUEUE}", QUEUE, stream=f"STEPWELL_{NAMESPACE}_TASKS", config=config)
    while True:
        try:
            [message] = await tasks.fetch(1, timeout=30)
            await handle(client.jetstream(), message)
        except nats.errors.Error as error:  # nothing to do for a while, or the server is away: ask again
            await asyncio.sleep(0 if isinstance(error, nats.errors.TimeoutError) else 1)

asyncio.run(main())
