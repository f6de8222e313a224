"""What a workflow must not do, and what to use instead: the table behind `durably check` and docs/determinism.md.

From DESIGN rules 4 and 5: a replay has to do again what the run did, in another process, at another time.
"""

from typing import NamedTuple

__all__ = ["ALLOW", "KINDS", "METHODS", "PACKAGES", "PURE", "RULES", "Kind", "Rule"]


class Kind(NamedTuple):
    """A kind of finding, named in `# durably: allow[name]`."""

    name: str
    what: str
    """In Markdown, for the documentation."""
    why: str
    """What is wrong with it, behind a subject: `time.time() …`."""
    remedy: str


class Rule(NamedTuple):
    """Functions, classes and objects whose use is a finding."""

    kind: str
    names: tuple[str, ...]
    """Dotted, from where they are imported."""
    remedy: str = ""
    """Where it is another than that of the kind."""
    at_most: int | None = None
    """Calls with more arguments are fine: `random.Random(3)` is as good as any constant."""
    on_sight: bool = False
    """It is an object, and looking at it is enough."""


ALLOW = "allow"
"""The kind of findings about comments that allow nothing. It cannot be allowed itself."""

_IN_A_STEP = "Do it in a step"

KINDS = {
    kind.name: kind
    for kind in (
        Kind("clock", "`time.time()`, `time.monotonic()`, `datetime.now()`, `date.today()`",
             "reads the clock, and on replay the time is another", "Use durably.now()"),
        Kind("random", "`random.*`, `uuid.uuid4()`, `secrets.*`, `os.urandom()`; `random.Random()` without a seed",
             "gives another value on every replay", "Use durably.random()"),
        Kind("environment", "`os.environ`, `os.getenv()`, `sys.argv`, `os.getcwd()`, `platform.*`",
             "differs between machines and deploys", "Read it in a step, or pass it in as input"),
        Kind("file", "`open()`, `pathlib.Path` and `os` on files, `shutil`, `tempfile`, `sqlite3`, `anyio.open_file()`",
             "reaches for files, and on replay they may be others", _IN_A_STEP),
        Kind("network", "`socket`, `urllib.request`, `requests`, `httpx`, `aiohttp`, clients of databases and services",
             "reaches out of the process, and would again on every replay", _IN_A_STEP),
        Kind("process", "`subprocess`, `os.system()`, `multiprocessing`, `asyncio.create_subprocess_exec()`",
             "acts on processes, and would again on every replay", _IN_A_STEP),
        Kind("thread", "`threading.Thread`, executors, `asyncio.to_thread()`, `anyio.to_thread.run_sync()`",
             "runs code beside the workflow, in an order that no replay repeats",
             "Make it a step with an ordinary `def`: it runs in a thread"),
        Kind("blocking", "`time.sleep()`, `threading.Lock`, `queue.Queue`, `asyncio.run()`",
             "holds up the engine and every run in it", "Use what asyncio has for it, which is durable"),
        Kind("order", "walking through a set; `asyncio.as_completed()` of coroutines",
             "has another order in every process", "Use sorted(…)"),
        Kind("identity", "`hash()`, `id()`",
             "gives another number in every process", "Use an id of your own, or hashlib in place of hash"),
        Kind("global", "`global`, changing what is outside of the function, reading a global that other code sets",
             "is shared by all runs and is not replayed",
             "Keep state in local variables, and let steps read and write what is outside"),
        Kind("cancel", "`except` of CancelledError, BaseException or everything around an `await`, without `raise`",
             "also catches the CancelledError that cancels the run, and goes on",
             "Raise it again, or catch Exception"),
        Kind("input", "`input()`, `sys.stdin`, `breakpoint()`",
             "waits for somebody at this process's terminal", "Use durably.wait_for_signal()"),
    )
}  # fmt: skip
"""By name, in the order of the documentation."""


def _in(module: str, names: str) -> tuple[str, ...]:
    return tuple(f"{module}.{name}" for name in names.split())


RULES = (
    Rule("clock", (
        *_in("time", "time time_ns monotonic monotonic_ns perf_counter perf_counter_ns process_time process_time_ns "
                     "thread_time thread_time_ns clock_gettime clock_gettime_ns"),
        *_in("datetime.datetime", "now utcnow today"), "datetime.date.today",
    )),
    Rule("clock", _in("time", "gmtime localtime ctime asctime"), at_most=0),
    Rule("clock", ("time.strftime",), at_most=1),
    Rule("random", _in("random", "random randint randrange choice choices shuffle sample uniform gauss normalvariate "
                                 "triangular betavariate binomialvariate expovariate gammavariate lognormvariate "
                                 "vonmisesvariate paretovariate weibullvariate getrandbits randbytes seed setstate "
                                 "SystemRandom")),
    Rule("random", ("random.Random",), "Use durably.random(), or give it a seed and keep it in a variable", at_most=0),
    Rule("random", _in("numpy.random", "default_rng RandomState SeedSequence"), "Give it a seed", at_most=0),
    Rule("random", _in("uuid", "uuid1 uuid4 uuid6 uuid7 getnode"), "Use durably.uuid4()"),
    Rule("random", _in("secrets", "token_bytes token_hex token_urlsafe choice randbelow randbits SystemRandom"),
         "Make secrets in a step. For anything else use durably.random()"),
    Rule("random", _in("os", "urandom getrandom"), "Use durably.random().randbytes(n), or a step for secrets"),
    Rule("environment", ("os.environ", "os.environb", "sys.argv"), on_sight=True),
    Rule("environment", (
        *_in("os", "getenv getenvb putenv unsetenv getpid getppid getcwd getcwdb chdir cpu_count process_cpu_count "
                   "uname getlogin getuid getgid getloadavg"),
        *_in("platform", "node platform system machine processor release version uname python_version"),
        *_in("socket", "gethostname getfqdn"), *_in("threading", "get_ident get_native_id"),
        "getpass.getuser", "time.tzset", "locale.getlocale", "locale.setlocale",
    )),
    Rule("file", (
        "builtins.open", *_in("io", "open open_code FileIO"),
        *_in("os", "open read write close fsync listdir scandir walk fwalk stat lstat fstat access remove unlink "
                   "rename renames replace mkdir makedirs rmdir removedirs link symlink readlink chmod chown utime "
                   "truncate statvfs pipe mkfifo sync fdopen sendfile"),
        *_in("os.path", "exists lexists isfile isdir islink ismount getsize getmtime getctime getatime samefile "
                        "realpath abspath expanduser"),
        *_in("pathlib.Path", "open read_text read_bytes write_text write_bytes exists is_file is_dir is_symlink "
                             "is_mount iterdir glob rglob walk stat lstat touch mkdir rmdir unlink rename replace "
                             "symlink_to hardlink_to readlink chmod lchmod owner group samefile resolve absolute "
                             "expanduser cwd home copy copy_into move move_into"),
        *_in("shutil", "copy copy2 copyfile copyfileobj copymode copystat copytree move rmtree disk_usage make_archive "
                       "unpack_archive which chown"),
        *_in("tempfile", "TemporaryFile NamedTemporaryFile SpooledTemporaryFile TemporaryDirectory mkstemp mkdtemp "
                         "mktemp gettempdir"),
        *_in("glob", "glob iglob"), *_in("fileinput", "input FileInput"), *_in("zipfile", "ZipFile is_zipfile"),
        *_in("tarfile", "open TarFile"), *_in("gzip", "open GzipFile"), "shelve.open", "dbm.open", "mmap.mmap",
        *_in("sqlite3", "connect Connection"),
        *_in("anyio", "open_file Path NamedTemporaryFile TemporaryDirectory"),
    )),
    Rule("network", (
        *_in("socket", "socket create_connection create_server getaddrinfo gethostbyname gethostbyaddr getnameinfo "
                       "socketpair fromfd"),
        *_in("urllib.request", "urlopen urlretrieve build_opener OpenerDirector"),
        *_in("http.client", "HTTPConnection HTTPSConnection"), "xmlrpc.client.ServerProxy",
        *_in("smtplib", "SMTP SMTP_SSL"), *_in("imaplib", "IMAP4 IMAP4_SSL"), *_in("poplib", "POP3 POP3_SSL"),
        *_in("ftplib", "FTP FTP_TLS"),
        *_in("asyncio", "open_connection open_unix_connection start_server start_unix_server"),
        *_in("anyio", "connect_tcp connect_unix create_tcp_listener create_unix_listener create_udp_socket "
                      "create_connected_udp_socket getaddrinfo getnameinfo"),
        *_in("openai", "OpenAI AsyncOpenAI AzureOpenAI AsyncAzureOpenAI"),
        *_in("anthropic", "Anthropic AsyncAnthropic"), *_in("elasticsearch", "Elasticsearch AsyncElasticsearch"),
        *_in("slack_sdk", "WebClient"), *_in("slack_sdk.web.async_client", "AsyncWebClient"),
    )),
    Rule("process", (
        *_in("subprocess", "run call check_call check_output getoutput getstatusoutput Popen"),
        *_in("os", "system popen fork forkpty kill killpg abort _exit wait waitpid nice execl execle execlp execlpe "
                   "execv execve execvp execvpe posix_spawn posix_spawnp spawnl spawnle spawnlp spawnlpe spawnv "
                   "spawnve spawnvp spawnvpe startfile"),
        *_in("asyncio", "create_subprocess_exec create_subprocess_shell"), *_in("anyio", "run_process open_process"),
        *_in("multiprocessing", "Process Pool Queue Manager Pipe"), "multiprocessing.pool.Pool",
        "concurrent.futures.ProcessPoolExecutor", "anyio.to_process.run_sync",
        *_in("signal", "signal alarm setitimer raise_signal"),
    )),
    Rule("thread", (
        *_in("threading", "Thread Timer"), *_in("_thread", "start_new_thread"), "multiprocessing.pool.ThreadPool",
        *_in("concurrent.futures", "Executor ThreadPoolExecutor InterpreterPoolExecutor"), "asyncio.to_thread",
        "asyncio.run_coroutine_threadsafe", "anyio.to_thread.run_sync", "anyio.to_interpreter.run_sync",
        *_in("anyio.from_thread", "run run_sync start_blocking_portal"),
    )),
    Rule("blocking", ("time.sleep",), "Use asyncio.sleep(), which is durable"),
    Rule("blocking", (
        *_in("threading", "Lock RLock Condition Semaphore BoundedSemaphore Event Barrier"), "_thread.LockType",
        *_in("queue", "Queue LifoQueue PriorityQueue SimpleQueue"), *_in("select", "select poll epoll"),
        *_in("signal", "pause sigwait"),
    )),
    Rule("blocking", (*_in("asyncio", "run Runner"), "anyio.run"), "A workflow has its loop already: use await"),
    Rule("order", ("asyncio.as_completed",), "Use durably.as_completed()"),
    Rule("order", ("builtins.set.pop",), "Use min(…), or a list"),
    Rule("identity", _in("builtins", "hash id")),
    Rule("input", _in("builtins", "input breakpoint")),
    Rule("input", _in("getpass", "getpass")),
    Rule("input", ("sys.stdin",), on_sight=True),
)  # fmt: skip

PACKAGES = {
    package: Rule(kind, (package,))
    for kind, packages in (
        ("network", (
            "requests", "httpx", "aiohttp", "urllib3", "websockets", "grpc", "paramiko", "asyncssh",
            "boto3", "botocore", "aiobotocore", "aioboto3", "redis", "valkey", "kafka", "aiokafka", "pika", "aio_pika",
            "psycopg", "psycopg2", "psycopg_pool", "asyncpg", "pymysql", "aiomysql", "pymongo", "motor",
            "aiosmtplib",
        )),
        ("file", ("aiofiles", "aiosqlite")),
        ("random", ("numpy.random",)),
    )
    for package in packages
}  # fmt: skip
"""Packages that are there to reach out: calling any of their functions and classes is a finding."""

PURE = (
    *_in("aiohttp", "ClientTimeout BasicAuth FormData"),
    *_in("httpx", "URL QueryParams Headers Timeout Limits BasicAuth Request"),
    "requests.Request",
)  # fmt: skip
"""Of those packages, what only holds values."""

METHODS = {
    name: Rule(kind, (f"loop.{name}",))
    for kind, name in (
        ("thread", "run_in_executor"),
        ("process", "subprocess_exec"),
        ("process", "subprocess_shell"),
    )
}
"""Methods that are recognised by their names alone, whatever they are called on."""
