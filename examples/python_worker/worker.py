"""An activity worker without an SDK: `python3 worker.py [QUEUE]`. Needs nats-py and nothing else."""
import asyncio, json, os, re, sys
import nats
from nats.js.api import AckPolicy, ConsumerConfig

NAMESPACE = os.environ.get("STEPWELL_NAMESPACE", "default")
QUEUE = sys.argv[1] if len(sys.argv) > 1 else "python"
ACTIVITIES = {"count_words": lambda text: len(text.split()), "reverse_text": lambda text: text[::-1]}
ACK_WAIT = 15  # seconds until a task that nobody works on is given to another worker

async def still_working(message):
    while True:
        await asyncio.sleep(ACK_WAIT / 3)
        await message.in_progress()

def failed(kind, error_type, text):
    return {"failed": {"failure": {"kind": kind, "type": error_type, "message": text}}}

async def attempt(task, deliveries):
    if deliveries > 1:  # somebody had it before; whether to try again is the orchestrator's decision
        return failed("lost", "WorkerLost", "the worker that held the attempt is gone")
    if task["type"] not in ACTIVITIES or task["v"] != 1:
        return {"refused": {"reason": f"this worker has {', '.join(ACTIVITIES)}, version 1"}}
    limit = task.get("start_to_close_ms")
    try:
        work = asyncio.to_thread(ACTIVITIES[task["type"]], task["input"])
        return {"completed": {"result": await asyncio.wait_for(work, limit and limit / 1000)}}
    except asyncio.TimeoutError:
        return failed("start_to_close", "StartToCloseTimeout", f"it took longer than {limit} ms")
    except Exception as error:
        return failed("application", type(error).__name__, str(error))

async def handle(jetstream, message):
    task, working = json.loads(message.data), asyncio.create_task(still_working(message))
    workflow = re.sub(rb"[^\w/-]", lambda byte: b"=%02X" % byte[0][0], task["workflow_id"].encode()).decode()
    subject = f"stepwell.{NAMESPACE}.workflow.{workflow}.activity.{task['run_id']}.{task['step']}"
    report = {"v": 1, "attempt": task["attempt"], "token": task["token"], "outcome": {"started": {}}}
    try:
        if task.get("schedule_to_start_ms") and message.metadata.num_delivered == 1:
            await jetstream.publish(subject, json.dumps(report).encode())
        report["outcome"] = await attempt(task, message.metadata.num_delivered)
        await jetstream.publish(subject, json.dumps(report).encode())  # stored first, then acknowledged
        await message.ack()
    finally:
        working.cancel()

async def main():
    client = await nats.connect(os.environ.get("NATS_URL", "nats://127.0.0.1:4222"), max_reconnect_attempts=-1)
    config = ConsumerConfig(ack_policy=AckPolicy.EXPLICIT, ack_wait=ACK_WAIT, max_deliver=-1, max_ack_pending=10_000)
    tasks = await client.jetstream().pull_subscribe(
        f"stepwell.{NAMESPACE}.task.{QUEUE}", QUEUE, stream=f"STEPWELL_{NAMESPACE}_TASKS", config=config)
    while True:
        try:
            for message in await tasks.fetch(1, timeout=30):
                await handle(client.jetstream(), message)
        except nats.errors.Error as error:  # nothing to do for a while, or the server is away: ask again
            await asyncio.sleep(0 if isinstance(error, nats.errors.TimeoutError) else 1)

asyncio.run(main())
