<?php

/** A store for each test of PHPUnit. */

declare(strict_types=1);

namespace AnnalsStore;

require_once __DIR__ . '/annals.php';

/** For a class of tests: `$this->annals()` is a store of the test's own, which is empty, and is removed after the test. */
trait AnnalsTest
{
    private ?Client $annalsStore = null;

    protected function annals(): Client
    {
        return $this->annalsStore ??= Server::newStore();
    }

    /** @after PHPUnit 9 reads this line, and later versions the attribute. */
    #[\PHPUnit\Framework\Attributes\After]
    public function dropAnnalsStore(): void
    {
        $this->annalsStore?->drop();
        $this->annalsStore = null;
    }
}
