"""What is counted and timed for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

FIRST_TOKEN = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60)
PER_TOKEN = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5)


class Metrics:
    """One server's; several may live in a process."""

    def __init__(self):
        self.registry = registry = CollectorRegistry()
        self.requests = Counter(
            "menagerie_requests", "Answered requests.", ["endpoint", "status"], registry=registry
        )
        self.prompt_tokens = Counter(
            "menagerie_prompt_tokens", "Tokens read in prompts.", registry=registry
        )
        self.generated_tokens = Counter(
            "menagerie_generated_tokens", "Tokens drawn for answers.", registry=registry
        )
        self.waiting = Gauge(
            "menagerie_waiting_prompts", "Prompts in the queue.", registry=registry
        )
        self.running = Gauge("menagerie_running_rows", "Rows that decode.", registry=registry)
        self.first_token = Histogram(
            "menagerie_time_to_first_token_seconds",
            "From a prompt's arrival to its first token.",
            buckets=FIRST_TOKEN,
            registry=registry,
        )
        self.per_token = Histogram(
            "menagerie_time_per_token_seconds",
            "Between two tokens of a row.",
            buckets=PER_TOKEN,
            registry=registry,
        )

    def page(self):
        return generate_latest(self.registry)
