"""The instances of one revision: as many as its requests need, none when there are none."""

import asyncio
from collections.abc import Callable
from time import monotonic

import msgspec
import structlog

from serai.hosting.instances import Instance
from serai.hosting.launches import Launch
from serai.hosting.ports import Workload
from serai.hosting.problems import ENDED, SessionEnded, StartFailed, unavailable, with_tail
from serai.hosting.starting import Starter
from serai.kernel.background import Background
from serai.kernel.errors import SeraiError
from serai.runtime.port import RuntimeProblem

STABLE_SECONDS = 60.0
"""An instance that ends after so long was none of a crash loop."""
DOUBT_SECONDS = 3.0
DOUBT_PAUSE = 0.02
PAUSE_SECONDS = 1.0
PAUSE_MOST_SECONDS = 300.0
DRAIN_SECONDS = 900.0
"""The longest that a request may last."""
log = structlog.get_logger(__name__)


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """When instances are added, put to sleep and ended.

    Attributes:
        concurrency: requests that an instance takes at once before another one is started.
        idle: seconds without a request after which an instance stands.
        stop: seconds after which one that stands is ended; one of several ends after ``idle``.
    """

    concurrency: int = 80
    idle: float = 15.0
    stop: float = 300.0


class Fleet:
    """Starts, lends and ends the instances of a revision.

    Args:
        workload: whose.
        revision: which.
        launch: what they are.
        starter: makes them.
        pace: see ``Pace``.
        news: told when an instance fails or ends by itself, and (with None) when one serves again.

    Attributes:
        failures: how many in a row failed to start, or ended soon.
        problem: why the last one did.
    """

    def __init__(
        self,
        workload: Workload,
        revision: str,
        launch: Launch,
        starter: Starter,
        pace: Pace,
        news: Callable[["Fleet", StartFailed | None], None],
    ) -> None:
        self.workload = workload
        self.revision = revision
        self.launch = launch
        self.instances: list[Instance] = []
        self.failures = 0
        self.problem: StartFailed | None = None
        self.retired = False
        self._starter = starter
        self._pace = pace
        self._news = news
        self._retry_at = 0.0
        self._start_task: asyncio.Task[Instance] | None = None
        self._tasks = Background()

    # -- lending
    def take(self, pinned: str = "") -> Instance | None:
        """The instance that does least, now used by one more; None when none is awake.

        Args:
            pinned: id of the only one to take.
        """
        best: Instance | None = None
        for each in self.instances:
            if each.state != "ready" or (pinned and each.id != pinned):
                continue
            if best is None or each.in_flight < best.in_flight:
                best = each
        if best is None:
            return None
        if best.in_flight >= self._pace.concurrency and not pinned:
            self._grow()
        best.enter()
        return best

    async def acquire(self, seconds: float, pinned: str = "") -> Instance:
        """An instance, woken or started first if need be, now used by one more.

        Raises:
            WorkloadUnavailable: there is none in time, and why.
            SessionEnded: the pinned one is gone.
        """
        until = monotonic() + seconds
        while True:
            instance = self.take(pinned)
            if instance is not None:
                return instance
            if pinned and not self.has(pinned):
                raise SessionEnded(ENDED)
            if self.retired:
                raise unavailable("switched", "Another revision serves now; try again.", 1)
            sleeper = self._sleeper(pinned)
            if sleeper is not None:
                await self._wake(sleeper)
                continue
            if pinned or any(each.state == "doubted" for each in self.instances):
                await asyncio.sleep(DOUBT_PAUSE)
                continue
            await self._one_more(until - monotonic())

    def has(self, instance_id: str) -> bool:
        """Whether there is such an instance, and it takes requests."""
        return any(each.id == instance_id and each.state != "ending" for each in self.instances)

    async def _one_more(self, seconds: float) -> None:
        """Wait for the start of an instance; one at a time, however many wait."""
        task = self._start_task
        if task is None:
            left = self._retry_at - monotonic()
            if left > 0:
                raise self.refusal(left)
            task = self._begin()
        done, _ = await asyncio.wait([task], timeout=max(seconds, 0.0))
        if not done:
            raise unavailable("starting", "It is still being started; try again.", 2)
        if task.cancelled():
            raise unavailable("switched", "Its start was given up; try again.", 1)
        problem = task.exception()
        if isinstance(problem, StartFailed):
            raise self.refusal(self._retry_at - monotonic()) from problem
        if problem is not None:
            raise problem

    def refusal(self, seconds: float) -> SeraiError:
        """Why nothing serves now; ``seconds`` until the next try."""
        problem = self.problem
        if problem is None:
            return unavailable("starting", "It is being started; try again.", 1)
        loops = f" It failed {self.failures} times in a row." if self.failures > 1 else ""
        text = f"Revision {self.revision} does not serve. {problem.message}{loops}"
        return unavailable(problem.reason, text, int(max(seconds, 0.0)) + 1)

    def _sleeper(self, pinned: str) -> Instance | None:
        asleep = [each for each in self.instances if each.state == "asleep"]
        return next((each for each in asleep if not pinned or each.id == pinned), None)

    async def _wake(self, instance: Instance) -> None:
        async with instance.lock:
            if instance.state != "asleep":
                return
            try:
                await instance.box.resume()
            except RuntimeProblem as problem:
                log.warning("instance_lost", instance=instance.id, reason=str(problem))
                self._drop(instance)
                return
            instance.state, instance.stands = "ready", False
            instance.used_at = monotonic()
        self._tasks.start(self._noted_awake(instance))

    async def _noted_awake(self, instance: Instance) -> None:
        async with instance.lock:
            if instance.state == "ready":
                await self._starter.resumed(self.workload, instance)

    # -- starting
    async def first(self) -> None:
        """Start the first instance, or find that there is one.

        Raises:
            StartFailed: it does not serve, and why.
        """
        if any(each.state != "ending" for each in self.instances):
            return
        await asyncio.shield(self._start_task or self._begin())

    def adopt(self, instance: Instance) -> None:
        """Lend an instance that an earlier run of the platform started."""
        self.instances.append(instance)
        instance.run.ended.add_done_callback(lambda _: self._ended(instance))

    def _grow(self) -> None:
        count = sum(1 for each in self.instances if each.state != "ending")
        free = self._start_task is None and monotonic() >= self._retry_at
        if free and count < self.launch.most and not self.retired:
            sleeper = self._sleeper("")
            if sleeper is not None:
                self._tasks.start(self._wake(sleeper))
            else:
                self._begin()

    def _begin(self) -> "asyncio.Task[Instance]":
        task = asyncio.get_running_loop().create_task(self._start())
        self._start_task = task
        task.add_done_callback(self._started)
        return task

    async def _start(self) -> Instance:
        instance = await self._starter.start(self.workload, self.revision, self.launch)
        if self.retired:
            await self._starter.end(self.workload, instance, 0.0)
            raise StartFailed("switched", "Another revision serves now.")
        self.adopt(instance)
        text = f"Instance {instance.id} of revision {self.revision} serves."
        self._starter.say(self.workload, self.revision, instance.id, text)
        return instance

    def _started(self, task: "asyncio.Task[Instance]") -> None:
        self._start_task = None
        if task.cancelled():
            return
        problem = task.exception()
        if isinstance(problem, StartFailed):
            self._failed(problem)
        elif problem is not None:
            log.error("instance_start_failed", name=self.workload.name, exc_info=problem)
            self._failed(StartFailed("runtime", "The platform failed to start it; see its log."))
        elif self.problem is not None:
            self.problem = None
            self._news(self, None)

    def _failed(self, problem: StartFailed) -> None:
        self.failures += 1
        pause = min(PAUSE_SECONDS * 2.0 ** (self.failures - 2), PAUSE_MOST_SECONDS)
        self._retry_at = monotonic() + (pause if self.failures > 1 else 0.0)
        self.problem = problem
        if not self.retired:
            self._starter.say(self.workload, self.revision, "", f"Start failed: {problem.message}")
            self._news(self, problem)

    # -- ending
    def _ended(self, instance: Instance) -> None:
        """The program of an instance has ended."""
        if instance.state == "ending":
            return
        if monotonic() - instance.since > STABLE_SECONDS:
            self.failures = 0
        self._drop(instance)
        tail = list(instance.run.tail)
        words = f"An instance {instance.run.ended.result().words}."
        self._failed(StartFailed("crashed", with_tail(words, tail)))

    def doubt(self, instance: Instance) -> None:
        """A request could not reach an instance: look whether it still serves."""
        if instance.state == "ready":
            instance.state = "doubted"
            self._tasks.start(self._looked_at(instance))

    async def _looked_at(self, instance: Instance) -> None:
        until = monotonic() + DOUBT_SECONDS
        while instance.state == "doubted" and monotonic() < until:
            if await instance.serves():
                instance.state = "ready"
                return
            await asyncio.wait([instance.run.ended], timeout=DOUBT_PAUSE)
        if instance.state == "doubted":
            self._drop(instance)
            self._failed(StartFailed("crashed", "An instance listens no more on its port."))

    def _drop(self, instance: Instance) -> None:
        instance.state = "ending"
        self._tasks.start(self._end(instance, 0.0))

    async def _end(self, instance: Instance, seconds: float) -> None:
        try:
            await self._starter.end(self.workload, instance, seconds)
        except Exception:
            log.exception("instance_end_failed", instance=instance.id)
        finally:
            if instance in self.instances:
                self.instances.remove(instance)

    def retire(self, seconds: float = DRAIN_SECONDS) -> None:
        """Lend no more; end each instance when its requests are done."""
        self.retired = True
        for each in list(self.instances):
            if each.state != "ending":
                each.state = "ending"
                self._tasks.start(self._end(each, seconds))

    async def drained(self) -> None:
        """Wait until all that was begun is done."""
        task = self._start_task
        if task is not None:
            await asyncio.gather(task, return_exceptions=True)
        await self._tasks.wait()

    async def stop(self, seconds: float) -> None:
        """Retire, and wait for the end of everything; a start under way is given up."""
        self.retire(seconds)
        if self._start_task is not None:
            self._start_task.cancel()
        await self.drained()

    # -- time
    def tend(self, now: float) -> None:
        """Put idle instances to sleep, end those asleep for long, keep as many as wanted."""
        if self.retired:
            return
        there = [each for each in self.instances if each.state != "ending"]
        for place, each in enumerate(there):
            if place >= self.launch.least and self._pace.idle > 0:
                spare = place > 0 and not each.has_sessions
                self._rest(each, each.idle_for(now), spare=spare)
        missing = len(there) < self.launch.least and self._start_task is None
        if missing and now >= self._retry_at:
            self._begin()

    def _rest(self, instance: Instance, idle: float, *, spare: bool) -> None:
        if instance.state == "asleep":
            if idle > self._pace.idle + self._pace.stop:
                self._drop(instance)
        elif idle > self._pace.idle:
            if spare:
                self._drop(instance)
            else:
                self._tasks.start(self._sleep(instance))

    async def _sleep(self, instance: Instance) -> None:
        async with instance.lock:
            if instance.state != "ready" or instance.in_flight:
                return
            instance.state, instance.stands = "asleep", True
            try:
                await self._starter.suspend(self.workload, instance)
            except (RuntimeProblem, SeraiError) as problem:
                log.warning("instance_stays_awake", instance=instance.id, reason=str(problem))
                await instance.box.resume()
                instance.state, instance.stands = "ready", False
                instance.used_at = monotonic()

    async def release(self) -> None:
        """End the instances, whatever they do, so that another revision can have their volumes."""
        for each in list(self.instances):
            if each.state != "ending":
                each.state = "ending"
                await self._end(each, 0.0)
