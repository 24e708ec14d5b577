// Run by `.ci/packages`, where jest is installed.
const { withAnnals } = require("annals-store/jest");

const urls = new Set();

for (const round of [1, 2]) {
  test(
    `each test has an empty store: ${round}`,
    withAnnals(async (annals) => {
      urls.add(annals.url);
      expect(urls.size).toBe(1);
      expect(await annals.count()).toBe(0);
      await annals.append("order-1", { eventType: "OrderPlaced" }, { aggregateType: "Order", expected: "none" });
      const again = annals.append("order-1", { eventType: "OrderPlaced" }, { expected: "none" });
      await expect(again).rejects.toMatchObject({ type: "version-conflict", actual: 1 });
    }),
  );
}
