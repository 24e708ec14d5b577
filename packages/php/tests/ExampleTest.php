<?php

/** The trait with PHPUnit: `.ci/packages` runs it where PHPUnit is installed. */

declare(strict_types=1);

use AnnalsStore\AnnalsTest;
use AnnalsStore\Conflict;
use PHPUnit\Framework\TestCase;

require_once dirname(__DIR__) . '/src/AnnalsTest.php';

final class ExampleTest extends TestCase
{
    use AnnalsTest;

    private function buy(): void
    {
        self::assertSame(0, $this->annals()->count());
        $this->annals()->append('order-1', ['eventType' => 'OrderPlaced'], aggregateType: 'Order', expected: 'none');
        $this->expectException(Conflict::class);
        $this->annals()->append('order-1', ['eventType' => 'OrderPlaced'], expected: 'none');
    }

    public function testAStoreIsEmpty(): void
    {
        $this->buy();
    }

    public function testTheStoreOfTheNextTestIsEmptyToo(): void
    {
        $this->buy();
    }
}
