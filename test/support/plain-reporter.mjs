/** Prints one plain closing line, `N passed, N failed, N skipped`, which any log reader can find. */
export default class PlainReporter {
  onRunComplete(_contexts, r) {
    const broken = r.testResults.filter((t) => t.testExecError).length;
    process.stderr.write(
      `\n${r.numPassedTests} passed, ${r.numFailedTests + broken} failed, ${r.numPendingTests + r.numTodoTests} skipped\n`,
    );
  }
}
