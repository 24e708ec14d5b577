<?php

/** A client of the event store Annals, and a server of it for tests. The HTTP API is described in `docs/server.md`. */

declare(strict_types=1);

namespace AnnalsStore;

/** The server did not answer, or its answer to a call that succeeded cannot be read: whether an append was stored is unknown. */
final class Unreachable extends \RuntimeException
{
}

/** A refusal. `$document` is the server's problem document: https://www.rfc-editor.org/rfc/rfc9457 */
class Problem extends \RuntimeException
{
    /** @param array<string, mixed> $document */
    public function __construct(public readonly int $status, public readonly array $document)
    {
        $said = $document['detail'] ?? $document['title'] ?? null;
        parent::__construct(is_string($said) ? $said : "the server answered $status", $status);
    }

    /** What kind of problem it is, such as `version-conflict`. */
    public function type(): string
    {
        $type = $this->document['type'] ?? '';
        return is_string($type) ? basename($type) : '';
    }
}

/** The aggregate has another version than was expected. */
final class Conflict extends Problem
{
    public function actual(): int
    {
        return (int) $this->document['actualVersion'];
    }
}

/** The server cannot be started. */
final class ServerError extends \RuntimeException
{
}

/** A store behind a server. Events and answers are arrays; integers of data beyond 2^63 are texts, so that they keep their digits. */
final class Client
{
    /** Bytes of an answer, at most: the server's pages have fewer. */
    private const ANSWER_BYTES_MAX = 256 << 20;

    public readonly string $url;
    private readonly string $base;

    /** `$timeout` is how many seconds an answer may take. */
    public function __construct(string $url, ?string $namespace = null, private readonly ?string $token = null, private readonly float $timeout = 60.0)
    {
        $parts = parse_url($url);
        if (!is_array($parts) || !in_array($parts['scheme'] ?? '', ['http', 'https'], true) || ($parts['host'] ?? '') === '') {
            throw new \InvalidArgumentException("'$url' is no URL of a server, such as http://127.0.0.1:4280");
        }
        if ($token !== null && preg_match('/^[\x21-\x7e]+$/D', $token) !== 1) {
            throw new \InvalidArgumentException('a token must consist of printable ASCII characters');
        }
        $this->url = rtrim($url, '/');
        $this->base = $this->url . '/v1' . ($namespace === null ? '' : '/ns/' . rawurlencode($namespace));
    }

    /** The store of this name on the same server. */
    public function namespace(string $name): self
    {
        return new self($this->url, $name, $this->token, $this->timeout);
    }

    /**
     * Appends one event or a list of events, all or none. `$expected` is a version, "any", "none" or "exists"; another version is a `Conflict`.
     *
     * @param array<mixed> $events
     * @return array<string, mixed>
     */
    public function append(
        string $aggregateId,
        array $events,
        ?string $aggregateType = null,
        int|string|null $expected = null,
        ?string $durability = null,
        ?string $idempotencyKey = null,
    ): array {
        $parameters = ['aggregateType' => $aggregateType, 'expectedVersion' => $expected, 'durability' => $durability];
        if ($idempotencyKey !== null && preg_match('/[\r\n\0]/', $idempotencyKey) === 1) {
            throw new \InvalidArgumentException('an idempotency key has no line ends');
        }
        $headers = $idempotencyKey === null ? [] : ["Idempotency-Key: $idempotencyKey"];
        return $this->call('POST', self::stream_path($aggregateId) . '/events', $parameters, $events, $headers);
    }

    /**
     * Appends to several aggregates, all or none. `$members` are those of the request beside `appends`, such as `condition`.
     *
     * @param list<array<string, mixed>> $appends
     * @param array<string, mixed> $members
     * @return array<string, mixed>
     */
    public function appendAll(array $appends, array $members = []): array
    {
        return $this->call('POST', '/appends', [], ['appends' => $appends] + $members);
    }

    /** Drops the events of an aggregate; with `$tombstone` later appends are refused. */
    public function delete(string $aggregateId, bool $tombstone = false): void
    {
        $this->call('DELETE', self::stream_path($aggregateId), ['tombstone' => $tombstone ?: null]);
    }

    /**
     * The events of an aggregate, a page at a time.
     *
     * @param array<string, mixed> $parameters
     * @return \Generator<int, array<string, mixed>>
     */
    public function stream(string $aggregateId, array $parameters = []): \Generator
    {
        return $this->pages(self::stream_path($aggregateId) . '/events', $parameters);
    }

    /**
     * The events that match the filters of the API, such as `['eventType' => 'OrderPaid']`; a list is one of these values.
     *
     * @param array<string, mixed> $filters
     * @return \Generator<int, array<string, mixed>>
     */
    public function events(array $filters = []): \Generator
    {
        return $this->pages('/events', $filters);
    }

    /**
     * The event with this position or id.
     *
     * @return array<string, mixed>
     */
    public function event(int|string $event): array
    {
        return $this->call('GET', '/events/' . rawurlencode((string) $event));
    }

    /**
     * How many events match.
     *
     * @param array<string, mixed> $filters
     */
    public function count(array $filters = []): int
    {
        return (int) $this->call('GET', '/count', $filters)['count'];
    }

    /**
     * The answer to any reading path of the API in this store, such as `/statistics` or `/traces/checkout-9`.
     *
     * @param array<string, mixed> $parameters
     * @return array<string, mixed>
     */
    public function get(string $path, array $parameters = []): array
    {
        return $this->call('GET', $path, $parameters);
    }

    // A server that was started with --test-api

    /** Empties the store, or makes it; `$now` sets its clock, `$seed` makes the ids of events repeatable. */
    public function reset(?string $now = null, ?int $seed = null): void
    {
        $this->call('POST', '/test/reset', ['now' => $now, 'seed' => $seed]);
    }

    /** Moves the clock of the store on, and returns its time. */
    public function advance(int|float $seconds): string
    {
        return (string) $this->call('POST', '/test/clock/advance', [], ['seconds' => $seconds])['now'];
    }

    /** Keeps a copy of the store, and returns its number. */
    public function snapshot(): int
    {
        return (int) $this->call('POST', '/test/snapshots')['snapshot'];
    }

    /** Makes the store what it was. */
    public function restore(int $snapshot): void
    {
        $this->call('POST', "/test/snapshots/$snapshot/restore");
    }

    /**
     * Waits until a position is visible, and until groups have handled their events up to it, or all. A `Problem` says what is late.
     *
     * @param string|list<string>|null $group
     * @return array<string, mixed>
     */
    public function wait(?int $position = null, string|array|null $group = null, ?int $timeoutSeconds = null): array
    {
        return $this->call('GET', '/test/wait', ['position' => $position, 'group' => $group, 'timeoutSeconds' => $timeoutSeconds]);
    }

    /**
     * What happened in the store after an entry, in order; at most 1,000 entries.
     *
     * @return list<array<string, mixed>>
     */
    public function timeline(int $after = 0): array
    {
        return $this->call('GET', '/test/timeline', ['after' => $after, 'limit' => 1000])['entries'];
    }

    /**
     * Makes the next append that matches the rule fail, such as `fail('conflict', ['aggregateId' => 'order-1'])`. Returns the number of the rule.
     *
     * @param array<string, mixed> $rule
     */
    public function fail(string $fault, array $rule = []): int
    {
        return (int) $this->call('POST', '/test/faults', [], ['fault' => $fault] + $rule)['number'];
    }

    /** Deletes the rules of faults. */
    public function heal(): void
    {
        $this->call('DELETE', '/test/faults');
    }

    /** Removes the store from the server. */
    public function drop(): void
    {
        $this->call('DELETE', '/test');
    }

    private function pages(string $path, array $parameters): \Generator
    {
        do {
            $page = $this->call('GET', $path, $parameters);
            foreach ($page['events'] as $event) {
                yield $event;
            }
            $parameters['cursor'] = $page['next'] ?? null;
        } while ($parameters['cursor'] !== null);
    }

    private function call(string $method, string $path, array $parameters = [], ?array $body = null, array $headers = []): array
    {
        $target = $this->base . $path . self::query($parameters);
        $headers[] = 'Accept: application/json';
        $headers[] = 'Connection: close';
        if ($this->token !== null) {
            $headers[] = "Authorization: Bearer $this->token";
        }
        $content = '';
        if ($body !== null) {
            $headers[] = 'Content-Type: application/json';
            $content = json_encode($body, JSON_THROW_ON_ERROR | JSON_UNESCAPED_SLASHES | JSON_UNESCAPED_UNICODE | JSON_PRESERVE_ZERO_FRACTION);
        }
        [$status, $text] = $this->exchange($method, $target, $headers, $content);
        $document = $text === '' && $status >= 300 ? [] : json_decode($text, true, 512, JSON_BIGINT_AS_STRING);
        // An object in an answer begins with a brace; a list is decoded to an array too.
        if (!is_array($document) || ($text !== '' && ltrim($text)[0] !== '{')) {
            $detail = "the answer to $method $target is no JSON object";
            // Of a call that succeeded it is no refusal: an append was stored.
            throw $status < 300 ? new Unreachable($detail) : new Problem($status, ['detail' => $detail]);
        }
        if ($status >= 200 && $status < 300) {
            return $document;
        }
        throw isset($document['actualVersion']) ? new Conflict($status, $document) : new Problem($status, $document);
    }

    /** @return array{int, string} the status and the body */
    private function exchange(string $method, string $target, array $headers, string $content): array
    {
        $deadline = microtime(true) + $this->timeout;
        // A redirection could name a host that must not get the token.
        $http = ['method' => $method, 'header' => $headers, 'content' => $content, 'timeout' => $this->timeout];
        $http += ['ignore_errors' => true, 'follow_location' => 0, 'protocol_version' => 1.1];
        $answer = @fopen($target, 'r', false, stream_context_create(['http' => $http]));
        if ($answer === false) {
            throw $this->unreachable(error_get_last()['message'] ?? 'the connection failed');
        }
        try {
            return $this->read($answer, $deadline);
        } finally {
            fclose($answer);
        }
    }

    /** @param resource $answer */
    private function read($answer, float $deadline): array
    {
        $lines = stream_get_meta_data($answer)['wrapper_data'] ?? [];
        if (preg_match('#^HTTP/\S+ (\d{3})#', $lines[0] ?? '', $status) !== 1) {
            throw $this->unreachable('the answer is no HTTP');
        }
        $text = '';
        while (!feof($answer)) {
            $part = fread($answer, 1 << 16);
            $text .= $part === false ? '' : $part;
            if (microtime(true) > $deadline || stream_get_meta_data($answer)['timed_out']) {
                throw $this->unreachable("the answer took more than $this->timeout s");
            }
            if (strlen($text) > self::ANSWER_BYTES_MAX) {
                throw $this->unreachable('the answer has more than ' . self::ANSWER_BYTES_MAX . ' bytes');
            }
        }
        $length = preg_grep('/^content-length:/i', $lines);
        if ($length && (int) substr(end($length), 15) !== strlen($text)) {
            throw $this->unreachable('the answer was cut off');
        }
        return [(int) $status[1], $text];
    }

    private function unreachable(string $why): Unreachable
    {
        return new Unreachable("$this->url does not answer: $why");
    }

    private static function stream_path(string $aggregateId): string
    {
        return '/streams/' . rawurlencode($aggregateId);
    }

    private static function query(array $parameters): string
    {
        $given = [];
        foreach ($parameters as $name => $value) {
            foreach (is_array($value) ? $value : [$value] as $one) {
                if ($one !== null) {
                    $text = is_bool($one) ? ($one ? 'true' : 'false') : (string) $one;
                    $given[] = rawurlencode((string) $name) . '=' . rawurlencode($text);
                }
            }
        }
        return $given === [] ? '' : '?' . implode('&', $given);
    }
}

/** A server on a free port of the loopback address, with the calls for tests. Every client of it can wipe every store of it. */
final class Server
{
    /** Seconds until a server that does not say where it listens has failed, and until one that should stop is killed. */
    private const PATIENCE = 60;
    private const KILL = 9;
    private const LINE_BYTES_MAX = 16_384;

    private static ?self $shared = null;
    private static int $stores = 0;

    public readonly string $url;
    /** @var resource|null */
    private $process;
    /** The process that started the server: a fork of it must not stop it. */
    private readonly int $owner;
    /** @var array<int, resource> */
    private array $pipes = [];
    /** @var resource a file, since a pipe that is not read would stop the server when it is full */
    private $said;

    public function __construct()
    {
        $program = self::program();
        $command = [$program, 'serve', '--test-api', '--until-stdin-ends', '--port', '0', '--format', 'json'];
        // A server for tests must not wipe the store that the environment names.
        $environment = array_diff_key(getenv(), ['ANNALS_STORE' => '']);
        $this->owner = (int) getmypid();
        $this->said = tmpfile();
        // The server stops when its input ends, which the operating system does for a process that is killed.
        $ends = [['pipe', 'r'], ['pipe', 'w'], $this->said];
        $process = @proc_open($command, $ends, $this->pipes, null, $environment);
        if ($process === false) {
            throw new ServerError("$program cannot be started");
        }
        $this->process = $process;
        $document = json_decode($this->line(), true);
        if (!is_array($document) || !is_string($document['url'] ?? null)) {
            $this->end(self::KILL);
            rewind($this->said);
            throw new ServerError("$program cannot be started: " . (trim((string) stream_get_contents($this->said, self::LINE_BYTES_MAX)) ?: 'it has said nothing'));
        }
        $this->url = $document['url'];
    }

    /** The server of this process, which the first call starts. It stops with the process. */
    public static function shared(): self
    {
        if (self::$shared === null) {
            self::$shared = new self();
            register_shutdown_function(static fn () => self::$shared?->stop());
        }
        return self::$shared;
    }

    /** An empty store on the shared server, under a name that no other has. */
    public static function newStore(): Client
    {
        return self::shared()->namespace('test-' . getmypid() . '-' . ++self::$stores);
    }

    /** A client of the default store. */
    public function client(): Client
    {
        return new Client($this->url);
    }

    /** A client of the store of this name, which is empty. */
    public function namespace(string $name): Client
    {
        $store = new Client($this->url, $name);
        $store->reset();
        return $store;
    }

    /** Stops the server. */
    public function stop(): void
    {
        $this->end(15);
    }

    public function __destruct()
    {
        $this->stop();
    }

    /** The path of the program: of `ANNALS_PROGRAM`, of this package, or on the `PATH`. */
    private static function program(): string
    {
        $name = PHP_OS_FAMILY === 'Windows' ? 'annals.exe' : 'annals';
        $folders = [dirname(__DIR__) . '/bin', ...array_filter(explode(PATH_SEPARATOR, getenv('PATH') ?: ''))];
        $places = array_map(static fn ($folder) => "$folder/$name", $folders);
        $named = getenv('ANNALS_PROGRAM') ?: current(array_filter($places, is_file(...)));
        return $named ?: throw new ServerError('the program annals is not found: set ANNALS_PROGRAM to its path, or put it on the PATH');
    }

    /** The first line of the server, or less where it ends, or is late. */
    private function line(): string
    {
        $deadline = microtime(true) + self::PATIENCE;
        stream_set_blocking($this->pipes[1], false);
        $line = '';
        while (!str_contains($line, "\n") && strlen($line) < self::LINE_BYTES_MAX && $this->canRead($deadline)) {
            $line .= (string) fread($this->pipes[1], 4096);
            if (feof($this->pipes[1])) {
                break;
            }
        }
        return strtok($line, "\n") ?: '';
    }

    private function canRead(float $deadline): bool
    {
        [$read, $write, $except] = [[$this->pipes[1]], null, null];
        $left = max(0, (int) ceil($deadline - microtime(true)));
        return $left > 0 && (bool) @stream_select($read, $write, $except, $left);
    }

    private function end(int $signal): void
    {
        if ($this->process === null || $this->owner !== getmypid()) {
            return;
        }
        proc_terminate($this->process, $signal);
        $deadline = microtime(true) + self::PATIENCE;
        while (!feof($this->pipes[1]) && $this->canRead($deadline)) {
            fread($this->pipes[1], 4096);
        }
        // Does nothing to a process that has ended.
        proc_terminate($this->process, self::KILL);
        array_map(fclose(...), $this->pipes);
        proc_close($this->process);
        $this->process = null;
    }
}
