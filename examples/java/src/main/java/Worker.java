/** The process type worker. */
public class Worker {
    public static void main(String[] arguments) {
        System.out.println("worker says " + System.getenv().getOrDefault("GREETING", "hello"));
    }
}
