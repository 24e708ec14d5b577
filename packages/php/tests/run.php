<?php

/** The client, the server and the trait, without PHPUnit: `php tests/run.php`. */

declare(strict_types=1);

namespace AnnalsStore\Tests;

use AnnalsStore\AnnalsTest;
use AnnalsStore\Client;
use AnnalsStore\Conflict;
use AnnalsStore\Problem;
use AnnalsStore\Server;
use AnnalsStore\ServerError;
use AnnalsStore\Unreachable;

require_once dirname(__DIR__) . '/src/AnnalsTest.php';

error_reporting(E_ALL);
set_error_handler(static function (int $level, string $text, string $file, int $line): bool {
    return (error_reporting() & $level) !== 0 ? throw new \ErrorException($text, 0, $level, $file, $line) : false;
});

function same(mixed $expected, mixed $found): void
{
    if ($expected !== $found) {
        throw new \Exception('expected ' . var_export($expected, true) . ', found ' . var_export($found, true));
    }
}

function matches(string $pattern, string $text): void
{
    same([$pattern, 1], [$pattern . (preg_match($pattern, $text) === 1 ? '' : ", which does not match: $text"), 1]);
}

/** The exception of this class that the body throws. */
function refused(string $class, callable $body): \Throwable
{
    try {
        $body();
    } catch (\Throwable $thrown) {
        return $thrown instanceof $class ? $thrown : throw $thrown;
    }
    throw new \Exception("expected $class");
}

function place(Client $store, string $order = 'order-1', int|string|null $expected = null, ?string $key = null): array
{
    $event = ['eventType' => 'OrderPlaced', 'eventData' => ['total' => 1]];
    return $store->append($order, $event, aggregateType: 'Order', expected: $expected, idempotencyKey: $key);
}

function all(iterable $events, string $member): array
{
    return array_column(iterator_to_array($events, false), $member);
}

function with_environment(string $name, string $value, callable $body): void
{
    $before = getenv($name);
    putenv("$name=$value");
    try {
        $body();
    } finally {
        putenv($before === false ? $name : "$name=$before");
    }
}

/** A server, as a process of its own, that answers one request with this text; the body gets its URL. */
function with_answer(string $answer, callable $body): void
{
    $script = '$l = stream_socket_server("tcp://127.0.0.1:0"); echo stream_socket_get_name($l, false), "\n"; $c = stream_socket_accept($l, 60); '
        . 'do { $line = fgets($c); } while ($line !== false && trim($line) !== ""); fwrite($c, base64_decode($argv[1])); '
        . 'if ($argv[2]) { fgets(STDIN); }';
    // It closes the connection behind the answer, or, without one, when its input ends.
    $command = [PHP_BINARY, '-r', $script, '--', base64_encode($answer), $answer === '' ? '1' : '0'];
    $process = proc_open($command, [['pipe', 'r'], ['pipe', 'w']], $pipes);
    try {
        $body('http://' . trim((string) fgets($pipes[1])));
    } finally {
        fclose($pipes[0]);
        proc_terminate($process);
        proc_close($process);
    }
}

function answer(string $text, string $status = '200 OK', ?int $length = null): string
{
    return "HTTP/1.1 $status\r\nContent-Length: " . ($length ?? strlen($text)) . "\r\n\r\n$text";
}

/** A class of tests as PHPUnit makes one for each test. */
final class Example
{
    use AnnalsTest {
        annals as public;
    }
}

$tests = [
    'what is appended is read' => function (Client $store): void {
        same(1, place($store, expected: 'none')['lastVersion']);
        $store->append('order-1', [['eventType' => 'OrderPaid'], ['eventType' => 'OrderSent', 'tags' => ['a', 'b']]], expected: 1);
        same(['OrderPlaced', 'OrderPaid', 'OrderSent'], all($store->stream('order-1'), 'eventType'));
        same(2, $store->count(['eventType' => ['OrderPaid', 'OrderSent'], 'user' => null]));
        same(['a', 'b'], $store->event(3)['tags']);
        same(3, $store->get('/statistics')['total']);
    },
    'a conflict has the actual version' => function (Client $store): void {
        place($store);
        $conflict = refused(Conflict::class, fn () => place($store, expected: 'none'));
        same([1, 'version-conflict', 409], [$conflict->actual(), $conflict->type(), $conflict->status]);
        same(1, $store->count());
    },
    'a refusal says why' => function (Client $store): void {
        $problem = refused(Problem::class, fn () => $store->event(7));
        same([404, 'not-found'], [$problem->status, $problem->type()]);
        matches('/nonsense/', refused(Problem::class, fn () => all($store->events(['nonsense' => 1]), 'position'))->getMessage());
    },
    'a key makes a repetition harmless' => function (Client $store): void {
        $first = place($store, key: 'k-1');
        $again = place($store, key: 'k-1');
        same([true, $first['lastPosition']], [$again['repeated'], $again['lastPosition']]);
        same(1, $store->count());
        refused(\InvalidArgumentException::class, fn () => place($store, key: "k\r\nAuthorization: x"));
    },
    'every page is read' => function (Client $store): void {
        $numbers = range(0, 999);
        $store->append('many', array_map(fn ($n) => ['eventType' => 'Counted', 'eventData' => $n], $numbers), aggregateType: 'Thing');
        same($numbers, all($store->events(['limit' => 7]), 'eventData'));
        same(range(1, 1000), all($store->stream('many', ['limit' => 300]), 'version'));
    },
    'names may have any character' => function (Client $store): void {
        $name = "a/b ?&#%ü\u{202e}\"<>+";
        place($store, $name);
        same([$name], all($store->stream($name), 'aggregateId'));
        same(1, $store->count(['aggregate' => $name]));
    },
    'large numbers keep their digits' => function (Client $store): void {
        $store->append('a', ['eventType' => 'X', 'eventData' => ['n' => PHP_INT_MAX, 'f' => 1.0]], aggregateType: 'A');
        same([['n' => PHP_INT_MAX, 'f' => 1.0]], all($store->events(), 'eventData'));
    },
    'the clock is set and moved' => function (Client $store): void {
        $store->reset(now: '2026-01-31T12:00:00Z', seed: 7);
        place($store);
        same('2026-01-31T12:01:30Z', $store->advance(90));
        place($store);
        same(['2026-01-31T12:00:00Z', '2026-01-31T12:01:30Z'], all($store->events(), 'timestamp'));
    },
    'faults strike, and the timeline tells' => function (Client $store): void {
        $store->reset(seed: 7);
        same(1, $store->fail('conflict', ['aggregateId' => 'order-1', 'times' => 2]));
        same(0, refused(Conflict::class, fn () => place($store))->document['actualVersion']);
        $store->heal();
        place($store);
        same(['fault', 'appended'], array_slice(array_column($store->timeline(), 'kind'), -2));
    },
    'a wait says what is late' => function (Client $store): void {
        place($store);
        same(1, $store->wait(position: 1)['visible']);
        same('not-reached', refused(Problem::class, fn () => $store->wait(position: 2, timeoutSeconds: 0))->type());
    },
    'a snapshot is restored' => function (Client $store): void {
        place($store);
        $kept = $store->snapshot();
        place($store);
        $store->restore($kept);
        same(1, $store->count());
    },
    'several aggregates are all or none' => function (Client $store): void {
        $append = fn (string $name) => ['aggregateId' => $name, 'aggregateType' => 'Account', 'events' => [['eventType' => 'Moved']]];
        $store->appendAll([$append('a'), $append('b')]);
        refused(Conflict::class, fn () => $store->appendAll([$append('a'), ['expectedVersion' => 7] + $append('b')]));
        $condition = ['query' => ['filter' => ['eventType' => 'Moved']], 'after' => 0];
        $problem = refused(Problem::class, fn () => $store->appendAll([$append('a')], ['condition' => $condition]));
        same('condition-failed', $problem->type());
        same(2, $store->count());
    },
    'a deleted aggregate has no events' => function (Client $store): void {
        place($store);
        $store->delete('order-1');
        same([], all($store->stream('order-1'), 'position'));
    },
    'the trait has a store for each test, and removes it' => function (): void {
        $test = new Example();
        $store = $test->annals();
        same($store, $test->annals());
        place($store);
        same(0, (new Example())->annals()->count());
        $test->dropAnnalsStore();
        same('unknown-namespace', refused(Problem::class, fn () => $store->count())->type());
        $test->dropAnnalsStore();
    },
    'a server stops, and its client says so' => function (): void {
        $server = new Server();
        same(0, $server->client()->count());
        $server->stop();
        $server->stop();
        refused(Unreachable::class, fn () => $server->client()->count());
    },
    'the server ends with its process' => function (): void {
        $script = 'require $argv[1]; echo AnnalsStore\Server::shared()->url;';
        $process = proc_open([PHP_BINARY, '-r', $script, '--', dirname(__DIR__) . '/src/annals.php'], [1 => ['pipe', 'w']], $pipes);
        $url = (string) stream_get_contents($pipes[1]);
        same(0, proc_close($process));
        refused(Unreachable::class, fn () => (new Client($url))->count());
    },
    'a killed process left its server behind' => function (): void {
        $script = 'require $argv[1]; fwrite(STDOUT, AnnalsStore\Server::shared()->url); posix_kill(getmypid(), 9);';
        $process = proc_open([PHP_BINARY, '-r', $script, '--', dirname(__DIR__) . '/src/annals.php'], [1 => ['pipe', 'w']], $pipes);
        $url = (string) stream_get_contents($pipes[1]);
        proc_close($process);
        $address = str_replace('http://', 'tcp://', $url);
        matches('#^tcp://127\.0\.0\.1:\d+$#', $address);
        $deadline = microtime(true) + 30;
        while (@stream_socket_client($address) !== false) {
            same(true, microtime(true) < $deadline);
        }
        // The port is free: another can listen on it.
        fclose(stream_socket_server($address));
    },
    'a program that is not there is named' => function (): void {
        $start = fn () => matches('#/absent/annals#', refused(ServerError::class, fn () => new Server())->getMessage());
        with_environment('ANNALS_PROGRAM', '/absent/annals', $start);
    },
    'a program that says something else is not waited for' => function (): void {
        foreach (['false', 'yes'] as $program) {
            $start = fn () => matches('/cannot be started/', refused(ServerError::class, fn () => new Server())->getMessage());
            with_environment('ANNALS_PROGRAM', $program, $start);
        }
    },
    'a fork ended the server of its parent' => function (): void {
        if (!function_exists('pcntl_fork')) {
            throw new \RuntimeException('the extension pcntl is missing');
        }
        $server = new Server();
        $child = pcntl_fork();
        if ($child === 0) {
            $server->stop();
            posix_kill(getmypid(), 9);
        }
        pcntl_waitpid($child, $status);
        same(0, $server->client()->count());
    },
    'the store of the environment is not wiped' => function (): void {
        with_environment('ANNALS_STORE', 'file:/absent', function (): void {
            $server = new Server();
            same(0, $server->client()->count());
        });
    },
    'an address or a token that is none is refused' => function (): void {
        foreach (['', '127.0.0.1:4280', 'ftp://127.0.0.1', 'http://', 'file:///etc/passwd'] as $url) {
            matches('/no URL/', refused(\InvalidArgumentException::class, fn () => new Client($url))->getMessage());
        }
        refused(\InvalidArgumentException::class, fn () => new Client('http://127.0.0.1', token: "a\r\nHost: b"));
    },
    'an answer that was cut off was taken for a whole one' => function (): void {
        with_answer(answer('{}', length: 99), fn ($url) => refused(Unreachable::class, fn () => (new Client($url))->append('a', ['eventType' => 'X'])));
    },
    'an answer that was no object broke the client' => function (): void {
        foreach (['200 OK', '404 Not Found'] as $status) {
            foreach (['[1]', '"actualVersion"', '5', 'null', '<html>', str_repeat('[', 50_000)] as $text) {
                with_answer(answer($text, $status), function ($url) use ($status): void {
                    $class = $status === '200 OK' ? Unreachable::class : Problem::class;
                    matches('/no JSON object/', refused($class, fn () => (new Client($url))->count())->getMessage());
                });
            }
        }
    },
    'an append whose answer cannot be read was called refused' => function (): void {
        with_answer(answer(''), fn ($url) => refused(Unreachable::class, fn () => (new Client($url))->append('a', ['eventType' => 'X'])));
    },
    'a refusal without a body has its status' => function (): void {
        foreach ([307, 500, 503] as $status) {
            $elsewhere = answer('', "$status Other\r\nLocation: http://127.0.0.1:1/");
            with_answer($elsewhere, fn ($url) => same($status, refused(Problem::class, fn () => (new Client($url))->count())->status));
        }
    },
    'a server without an answer is waited for until the timeout' => function (): void {
        with_answer('', fn ($url) => refused(Unreachable::class, fn () => (new Client($url, timeout: 0.01))->count()));
    },
];

$failed = 0;
foreach ($tests as $name => $test) {
    try {
        $store = Server::newStore();
        $test($store);
        $store->drop();
        echo "ok      $name\n";
    } catch (\Throwable $thrown) {
        $failed += 1;
        echo "FAILED  $name: ", get_class($thrown), ': ', $thrown->getMessage(), ' (', basename($thrown->getFile()), ':', $thrown->getLine(), ")\n";
    }
}
echo count($tests) - $failed, ' of ', count($tests), " passed\n";
exit($failed === 0 ? 0 : 1);
