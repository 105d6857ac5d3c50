import org.junit.runner.Description;
import org.junit.runner.JUnitCore;
import org.junit.runner.Request;
import org.junit.runner.manipulation.Filter;
import org.junit.runner.notification.Failure;
import org.junit.runner.notification.RunListener;

/**
 * Runs JUnit 4 classes, without the tests that the property "skipped" names, or only those in "chosen", and writes a line for each test:
 * "@@", its result, its name, and where it failed.
 */
public class Report extends RunListener {
    private String result;
    private String text;

    public static void main(String[] names) throws Exception {
        Class<?>[] classes = new Class<?>[names.length];
        for (int i = 0; i < names.length; i++) {
            classes[i] = Class.forName(names[i]);
        }
        String skipped = "," + System.getProperty("skipped") + ",";
        String chosen = System.getProperty("chosen");
        JUnitCore core = new JUnitCore();
        core.addListener(new Report());
        core.run(Request.classes(classes).filterWith(new Filter() {
            @Override public boolean shouldRun(Description test) {
                if (test.isSuite()) {
                    return test.getChildren().stream().anyMatch(this::shouldRun);
                }
                return !skipped.contains("," + name(test) + ",")
                    && (chosen == null || ("," + chosen + ",").contains("," + name(test) + ","));
            }

            @Override public String describe() {
                return "without those that are skipped";
            }
        }));
        // Some tests leave threads.
        System.exit(0);
    }

    private static String name(Description test) {
        String name = test.getClassName().replaceAll("^com\\.rabbitmq\\.client\\.test\\.", "");
        return test.getMethodName() == null ? name : name + "." + test.getMethodName();
    }

    @Override public void testStarted(Description test) {
        result = "passed";
        text = "";
    }

    @Override public void testFailure(Failure failure) {
        result = "failed";
        text = failure.getTrace();
        if (failure.getDescription().getMethodName() == null) {
            testFinished(failure.getDescription());
        }
    }

    @Override public void testAssumptionFailure(Failure failure) {
        result = "skipped";
    }

    @Override public void testFinished(Description test) {
        System.out.println("@@ " + result + " " + name(test) + " " + text.replace("\n", "\\n"));
    }
}
